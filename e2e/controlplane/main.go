// Command controlplane is what the cluster tests run as their cluster: Kubernetes' API server, its
// controller manager, etcd and kubectl, each unchanged and each a subcommand of one binary.
//
// One process runs one of them, so that their flags, feature gates and metrics never meet.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	if len(os.Args) < 2 {
		refuse()
	}
	name := os.Args[1]
	// Each program reads its arguments from the place it has alone.
	os.Args = append([]string{name}, os.Args[2:]...)
	switch name {
	case "apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kcm":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "etcd":
		etcdmain.Main(os.Args)
	case "kubectl":
		util.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	default:
		refuse()
	}
}

func refuse() {
	fmt.Fprintln(os.Stderr, "usage: controlplane {apiserver|kcm|etcd|kubectl} [flag...]")
	os.Exit(2)
}

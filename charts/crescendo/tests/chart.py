#!/usr/bin/env python3
"""Tests of the chart, and what is made out of its values.

chart.py generate              writes README.md and values.schema.json
chart.py check HELM...         lint, golden files, mutations, schemas; UPDATE=1 writes the golden files anew;
                               the newest Helm comes first: Helm 3 prints no notes without a cluster
chart.py install HELM...       installs, upgrades and removes in the cluster of KUBECONFIG, which must be an empty one

The examples are rendered with every Helm given and must not differ. CRESCENDO_BINARY, where set, reads what is
rendered for it: configuration, rules, HPA. Needs PyYAML, and kubernetes-validate for the schemas; `install` needs an
API server alone, without nodes, and the command KUBECTL.
"""
import base64
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent.parent
GOLDEN = CHART / "tests" / "golden"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
# The oldest that Chart.yaml allows, and the newest that the schemas have.
KUBERNETES = os.environ.get("KUBERNETES_VERSIONS", "1.27 1.28 1.29 1.30 1.31 1.32 1.33 1.34 1.35 1.36 1.37").split()
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
OPEN = {"kube-prometheus-stack", "prometheus-adapter"}
# In golden files the dashboards are named, not repeated.
DASHBOARD = re.compile(r"^  ([\w-]+\.json): \|\n(?:    .*\n)+", re.MULTILINE)
OURS = "app.kubernetes.io/part-of=crescendo"
# Made anew at each rendering without a cluster.
RANDOM = re.compile(r"^( +(?:ca\.crt|tls\.crt|tls\.key|caBundle): ).+$", re.MULTILINE)


def load(text):
    return yaml.load(text, LOADER)


# --- values.yaml, read with its comments ---


def described_keys():
    """Yields (path, default, description, annotations) of every key of values.yaml, in its order."""
    values = load((CHART / "values.yaml").read_text())
    stack, comment = [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped[1:].strip())
            continue
        key = re.match(r"^( *)([A-Za-z][\w-]*):", line)
        if key:
            depth = len(key.group(1)) // 2
            stack = stack[:depth] + [key.group(2)]
            default = values
            for part in stack:
                default = default[part]
            notes = {n.split()[0]: n.split(" ", 1)[1] for n in comment if n.startswith("@")}
            yield tuple(stack), default, " ".join(c for c in comment if not c.startswith("@")), notes
        comment = []


def is_section(path, keys):
    return any(len(other) > len(path) and other[: len(path)] == path for other in keys)


def schema():
    keys = {path: (default, text, notes) for path, default, text, notes in described_keys()}
    root = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {"global": {"type": "object"}},
    }
    names = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    for path, (default, text, notes) in keys.items():
        place = root
        for part in path[:-1]:
            place = place["properties"][part]
        if is_section(path, keys):
            node = {"type": "object", "additionalProperties": path[0] in OPEN, "properties": {}}
        else:
            types = notes["@type"].split(",") if "@type" in notes else [names[type(default)]]
            node = {"type": types[0] if len(types) == 1 else types}
            if "@enum" in notes:
                node["enum"] = notes["@enum"].split("|")
        if text:
            node["description"] = text
        place["properties"][path[-1]] = node
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def readme():
    keys = {path: (default, text, notes) for path, default, text, notes in described_keys()}
    lines = (CHART / "tests" / "readme-head.txt").read_text().splitlines()
    lines += ["", "## Values", "", "| key | default | meaning |", "|---|---|---|"]
    for path, (default, text, notes) in keys.items():
        if is_section(path, keys):
            continue
        if "@enum" in notes:
            text += " One of " + ", ".join(f"`{one}`" for one in notes["@enum"].split("|")) + "."
        lines.append(f"| `{'.'.join(path)}` | `{json.dumps(default)}` | {text.strip().replace('|', chr(92) + '|')} |")
    lines += ["", "## Keys of the two charts that have their effect", ""]
    lines += ["A key that is set, has no effect here and is not a switch set to `false` is named in the notes after an install."]
    lines += [""] + [f"- `{key}`" for key in compatibility_keys()]
    return "\n".join(lines) + "\n"


def compatibility_keys():
    lines = (CHART / "files" / "compatibility-keys.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


GENERATED = {"values.schema.json": schema, "README.md": readme}


# --- rendering ---


@functools.cache
def render(helm, values, notes=False):
    """What Helm makes of a file of values, or of values as JSON."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        if isinstance(values, str):
            file.write(values)
            file.flush()
            values = file.name
        command = [helm, "template", "crescendo", str(CHART), "--namespace=speech", f"--values={values}"]
        if notes:
            command = [helm, "install", "crescendo", str(CHART), "--namespace=speech", f"--values={values}", "--dry-run=client"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    if notes:
        return done.stdout.split("NOTES:", 1)[1]
    text = re.sub(r"\n\s*\n", "\n", done.stdout)
    return RANDOM.sub(lambda found: found.group(1) + base64.b64encode(b"made anew").decode(), text)


def objects(text):
    found = {}
    for document in yaml.load_all(text, LOADER):
        if document:
            metadata = document["metadata"]
            name = f"{document['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
            assert name not in found, f"{name} is rendered twice"
            found[name] = document
    return found


def leaves(value, path=""):
    """Flattens a document; text that is YAML itself is looked into."""
    if isinstance(value, str) and "\n" in value and not value.startswith("{"):
        value = load(value)
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def flat(text):
    return {f"{name} {path}": leaf for name, document in objects(text).items() for path, leaf in leaves(document)}


# --- checks: each yields complaints ---


def check_generated():
    for name, make in GENERATED.items():
        if (CHART / name).read_text() != make():
            yield f"{name} is not what values.yaml makes of it: run `make chart-docs`"


def check_lint(helm):
    for example in EXAMPLES:
        done = subprocess.run(
            [helm, "lint", "--strict", str(CHART), f"--values={example}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            yield f"{example.name}: {done.stdout}{done.stderr}"


def check_golden(helm):
    for example in EXAMPLES:
        rendered, golden = DASHBOARD.sub(r"  \1: see dashboards/\1\n", render(helm, example)), GOLDEN / example.name
        if os.environ.get("UPDATE") == "1":
            golden.write_text(rendered)
        elif not golden.exists() or golden.read_text() != rendered:
            yield f"{example.name}: rendered differently than tests/golden/{example.name} (UPDATE=1 writes it anew)"
    for golden in GOLDEN.glob("*.yaml"):
        if not (CHART / "examples" / golden.name).exists():
            yield f"tests/golden/{golden.name} has no example"


def mutations():
    """Yields each row of mutations.yaml with the values of the seed's example, changed as it says."""
    seed = (CHART / "examples" / "seed.yaml").read_text()
    for row in load((CHART / "tests" / "mutations.yaml").read_text()):
        values = load(seed)
        *parents, last = row["key"]
        place = values
        for part in parents:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        assert place.get(last) != row["value"] if isinstance(place, dict) else True, f"{row['key']}: is so already"
        place[last] = row["value"]
        yield row, json.dumps(values)


def check_mutations(helm):
    """Each mutation changes exactly the fields that it names."""
    before = flat(render(helm, CHART / "examples" / "seed.yaml"))
    for row, values in mutations():
        after = flat(render(helm, values))
        changed = {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        title = ".".join(str(part) for part in row["key"])
        for key, value in row["changes"].items():
            hits = {name: found for name, found in changed.items() if re.fullmatch(key, name)}
            if not any(str(found) == str(value) for found in hits.values()):
                yield f"{title}: of `{key}` changed {hits}, expected {value!r}"
        for name in changed:
            if not any(re.fullmatch(key, name) for key in row["changes"]):
                yield f"{title}: `{name}` changed too, to {changed[name]!r}"


def check_notes(helm):
    values = {
        "kube-prometheus-stack": {
            "grafana": {"enabled": False},
            "kubeApiServer": {"enabled": True},
            "prometheus": {"prometheusSpec": {"retention": "1d", "walCompression": True}},
        },
        "prometheus-adapter": {"replicas": 2, "rules": {"resource": {"window": "1m"}}},
    }
    named = re.findall(r"^  ((?:kube-prometheus-stack|prometheus-adapter)\S+)$", render(helm, json.dumps(values), notes=True), re.MULTILINE)
    wanted = [
        "kube-prometheus-stack.kubeApiServer",
        "kube-prometheus-stack.prometheus.prometheusSpec.walCompression",
        "prometheus-adapter.replicas",
        "prometheus-adapter.rules.resource",
    ]
    if sorted(named) != wanted:
        yield f"NOTES names {named}, expected {wanted}"
    if "WITHOUT EFFECT" in render(helm, '{"scaling": {"auto": {"enabled": true}}}', notes=True):
        yield "NOTES complains about the chart's own defaults"


def check_refusals(helm):
    for values, complaint in [
        ({"scalling": {}}, "scalling"),
        ({"scaling": {"auto": {"enabled": "yes"}}}, "enabled"),
        ({"asr": {"model": {"source": "ftp"}}}, "source"),
        ({"asr": {"model": {"source": "claim"}}}, "asr.model.claim"),
        ({"embedded": True, "scaling": {"auto": {"enabled": True}}, "engine": {"enabled": False}}, "embedded"),
        ({"embedded": True, "scaling": {"auto": {"enabled": True}}, "prometheus-adapter": {"prometheus": {"url": "http://a"}}}, "embedded"),
        ({"scaling": {"auto": {"enabled": True}}, "engine": {"enabled": False}}, "prometheus-adapter.prometheus.url"),
        ({"scaling": {"auto": {"enabled": True}}, "kube-prometheus-stack": {"prometheus": {"prometheusSpec": {"additionalScrapeConfigs": [{"job_name": "kube-state-metrics"}]}}}}, "engine.stateMetrics.resources"),
        ({"scaling": {"auto": {"enabled": True}}, "adapter": {"tls": {"source": "existingSecret"}}}, "existingSecret"),
    ]:
        try:
            render(helm, json.dumps(values))
            yield f"{values} is rendered; it should be refused"
        except RuntimeError as error:
            if complaint not in str(error):
                yield f"{values}: the refusal does not name `{complaint}`: {error}"


def check_replicas(helm):
    """The Deployment of the workers has `replicas` where nothing scales it, and only there."""
    for example in EXAMPLES:
        found = objects(render(helm, example))
        scaled = {o["spec"]["scaleTargetRef"]["name"] for o in found.values() if o["kind"] == "HorizontalPodAutoscaler"}
        for name, document in found.items():
            if document["kind"] == "Deployment":
                has, ruled = "replicas" in document["spec"], document["metadata"]["name"] in scaled
                if has == ruled:
                    yield f"{example.name}: {name} has replicas: {has}, has an HPA: {ruled}"


def check_dashboards(helm):
    """Every dashboard arrives as it is, where the sidecar of Grafana looks for it."""
    found = objects(render(helm, CHART / "examples" / "minimal.yaml"))
    files = {path.name: path.read_text().strip() for path in (CHART / "dashboards").glob("*.json")}
    arrived = {}
    for document in found.values():
        if document["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            arrived |= {name: text.strip() for name, text in document["data"].items()}
    if arrived != files or not files:
        yield f"dashboards arrive as {sorted(arrived)}, expected {sorted(files)}, or their text differs"


def check_pods(helm):
    """Every container fits the restricted profile, and has its probes."""
    for example in EXAMPLES:
        for name, document in objects(render(helm, example)).items():
            pod = document.get("spec", {}).get("template", {}).get("spec")
            if not pod:
                continue
            if not pod["securityContext"]["runAsNonRoot"] or pod["securityContext"]["seccompProfile"]["type"] != "RuntimeDefault":
                yield f"{example.name}: {name}: the pod is not restricted"
            for container in pod.get("initContainers", []) + pod["containers"]:
                context = container["securityContext"]
                if context["allowPrivilegeEscalation"] or not context["readOnlyRootFilesystem"] or context["capabilities"] != {"drop": ["ALL"]}:
                    yield f"{example.name}: {name}: container {container['name']} is not restricted"
            for container in pod["containers"]:
                missing = {"startupProbe", "readinessProbe", "livenessProbe"} - container.keys()
                if missing:
                    yield f"{example.name}: {name}: no {', '.join(sorted(missing))}"


def check_schemas(helm):
    try:
        import kubernetes_validate
    except ImportError:
        yield from absent("kubernetes-validate is not installed: the schemas of Kubernetes were not checked")
        return
    seen, validated = set(), 0
    for example in EXAMPLES:
        for name, document in objects(render(helm, example)).items():
            text = json.dumps(document, sort_keys=True)
            if text in seen:
                continue
            seen.add(text)
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                    validated += 1
                except kubernetes_validate.SchemaNotFoundError:
                    if "k8s.io/" not in document["apiVersion"] and "monitoring.coreos.com" not in document["apiVersion"] and "cert-manager.io" not in document["apiVersion"]:
                        yield f"{example.name}: {name}: no schema in Kubernetes {version}"
                except kubernetes_validate.ValidationError as error:
                    yield f"{example.name}: {name}: Kubernetes {version}: {error.message}"
    print(f"chart: {validated} validations of {len(seen)} objects against Kubernetes {KUBERNETES[0]} to {KUBERNETES[-1]}")


def check_binary(helm):
    """What is rendered for our programs, read by them."""
    binary = os.environ.get("CRESCENDO_BINARY")
    if not binary:
        yield from absent("no CRESCENDO_BINARY: the rendered configuration, rules and HPA were not read by it")
        return
    for example in EXAMPLES:
        found = objects(render(helm, example))
        with tempfile.TemporaryDirectory() as folder:
            for name, document in found.items():
                path = Path(folder) / "file.yaml"
                if document["kind"] == "HorizontalPodAutoscaler":
                    path.write_text(yaml.safe_dump(document))
                    yield from read_by([binary, "check", "hpa", str(path)], f"{example.name}: {name}")
                elif "prometheus.yml" in document.get("stringData", {}):
                    path.write_text(document["stringData"]["prometheus.yml"])
                    yield from read_by([binary, "check", "config", str(path)], f"{example.name}: {name}")
                elif name.endswith("-rules"):
                    for key, text in document.get("data", {}).items():
                        path.write_text(text)
                        yield from read_by([binary, "check", "rules", str(path)], f"{example.name}: {name} {key}")


def read_by(command, title):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        yield f"{title}: {done.stdout}{done.stderr}"


def absent(what):
    print(f"chart: {what}")
    if os.environ.get("CI") == "true":
        yield what


def check(helms):
    complaints = list(check_generated())
    with ThreadPoolExecutor(2) as ahead:
        # What the schemas do not need is rendered while they are checked.
        first = [ahead.submit(render, helms[0], example) for example in EXAMPLES]
        rest = [ahead.submit(render, helms[0], values) for _, values in mutations()]
        for one in first:
            one.result()
        complaints += check_schemas(helms[0])
        for one in rest:
            one.exception()
    for helm in helms:
        complaints += [f"{Path(helm).name}: {one}" for one in [*check_lint(helm), *check_golden(helm)]]
    for one in [check_mutations, check_notes, check_refusals, check_replicas, check_dashboards, check_pods, check_binary]:
        complaints += one(helms[0])
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"chart: {len(EXAMPLES)} examples, {len(helms)} versions of Helm, {len(complaints)} complaints")
    return 1 if complaints else 0


# --- what only an API server can tell ---


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def kubectl(*words):
    return run(*os.environ.get("KUBECTL", "kubectl").split(), *words)


def replicas():
    return int(kubectl("get", "deployment", "lightning-asr", "-n", "speech", "-o", "jsonpath={.spec.replicas}"))


def scaled_by_hand(helm, before, after):
    """Yields the replicas after each upgrade, before which somebody scaled to 7, 8 and 9."""
    run(helm, "install", "crescendo", str(CHART), "-n", "speech", *before)
    for wanted in (7, 8, 9):
        kubectl("scale", "deployment", "lightning-asr", "-n", "speech", f"--replicas={wanted}")
        run(helm, "upgrade", "crescendo", str(CHART), "-n", "speech", *after, f"--set=asr.threads={wanted}")
        yield replicas()
    run(helm, "uninstall", "crescendo", "-n", "speech")


def play_adapter():
    """Writes what the adapter writes with `adapter.tls.source: own`: a Secret's data, and whom the API server trusts."""
    text = kubectl("get", "configmap", "extension-apiserver-authentication", "-n", "kube-system", "-o", "jsonpath={.data.client-ca-file}")
    bundle = base64.b64encode(text.encode()).decode()
    for kind, name, change in [
        ("secret", r"^(\S+) +(\S+-certificate) ", {"data": {"ca.crt": bundle}}),
        ("apiservice", r"^()(v1\S+\.metrics\.k8s\.io) ", {"spec": {"caBundle": bundle}}),
    ]:
        listed = kubectl("get", kind, *(["-A"] if kind == "secret" else []), "-l", OURS, "--no-headers")
        for namespace, found in re.findall(name, listed, re.MULTILINE):
            if kind == "secret" or not kubectl("get", kind, found, "-o", "jsonpath={.spec.caBundle}"):
                place = ["-n", namespace] if namespace else []
                kubectl("patch", kind, found, *place, "--type=merge", "-p", json.dumps(change))


def certificates():
    """All that is kept of certificates and their authorities."""
    return kubectl("get", "secret,apiservice", "-A", "-l", OURS, "-o", "jsonpath={range .items[*]}{.data}{.spec.caBundle}{end}")


def check_installs(helm):
    """Every example is accepted and leaves nothing; its certificate outlives an upgrade."""
    for example in EXAMPLES:
        if "cert-manager" in example.name:
            continue
        words = ["crescendo", str(CHART), "-n", "speech", f"--values={example}"]
        run(helm, "install", *words)
        play_adapter()
        before = certificates()
        run(helm, "upgrade", *words, "--set=asr.threads=3")
        if not before or certificates() != before:
            yield f"{example.name}: an upgrade made the certificate anew"
        run(helm, "uninstall", "crescendo", "-n", "speech")
        kinds = "all,secret,configmap,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,apiservice,servicemonitor,hpa,pdb,netpol"
        left = kubectl("get", kinds, "-A", "-l", OURS, "-o", "name")
        if left:
            yield f"{example.name}: an uninstall leaves {left.split()}"


def check_scale(helm):
    """An upgrade never resets what the HPA, or somebody, scaled to: also not the one that switches the HPA on."""
    on, fixed = ["--set=scaling.auto.enabled=true"], ["--set=scaling.replicas.lightningAsr=4"]
    for before in (on, fixed):
        found = list(scaled_by_hand(helm, before, on))
        if found != [7, 8, 9]:
            yield f"{before}: upgrades with the HPA made {found} of 7, 8 and 9 replicas"


def install(helms):
    for namespace in ("smallest", "speech"):
        if namespace not in kubectl("get", "namespaces", "-o", "name"):
            kubectl("create", "namespace", namespace)
    complaints = [f"{Path(helm).name}: {one}" for helm in helms for one in [*check_installs(helm), *check_scale(helm)]]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"chart: installed by {len(helms)} versions of Helm, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["generate"]:
        for name, make in GENERATED.items():
            (CHART / name).write_text(make())
    elif sys.argv[1:2] == ["check"] and len(sys.argv) > 2:
        sys.exit(check(sys.argv[2:]))
    elif sys.argv[1:2] == ["install"] and len(sys.argv) > 2:
        sys.exit(install(sys.argv[2:]))
    else:
        sys.exit(__doc__)

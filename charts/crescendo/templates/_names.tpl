{{/*
Names, labels and namespaces of the objects. The seed's runbook names them: with the overrides of examples/seed.yaml
they come out as it says.
*/}}

{{- define "crescendo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "crescendo.engine.name" -}}
{{- $override := dig "kube-prometheus-stack" "fullnameOverride" "" .Values.AsMap -}}
{{- printf "%s-prometheus" (default (include "crescendo.fullname" .) $override | trunc 40 | trimSuffix "-") -}}
{{- end -}}

{{- define "crescendo.adapter.name" -}}
{{- dig "prometheus-adapter" "fullnameOverride" "" .Values.AsMap | default (printf "%s-prometheus-adapter" (include "crescendo.fullname" .)) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "crescendo.asr.namespace" -}}
{{- default .Release.Namespace .Values.namespaces.asr -}}
{{- end -}}
{{- define "crescendo.engine.namespace" -}}
{{- default .Release.Namespace .Values.namespaces.engine -}}
{{- end -}}
{{- define "crescendo.adapter.namespace" -}}
{{- if .Values.embedded }}{{ include "crescendo.engine.namespace" . }}{{ else }}{{ default .Release.Namespace .Values.namespaces.adapter }}{{ end -}}
{{- end -}}

{{/* What is installed. */}}
{{- define "crescendo.engine.on" -}}
{{- if and .Values.scaling.auto.enabled .Values.engine.enabled (dig "kube-prometheus-stack" "prometheus" "enabled" true .Values.AsMap) }}true{{ end -}}
{{- end -}}
{{- define "crescendo.adapter.on" -}}
{{- if and .Values.scaling.auto.enabled .Values.adapter.enabled }}true{{ end -}}
{{- end -}}
{{- define "crescendo.embedded.on" -}}
{{- if and .Values.embedded (include "crescendo.adapter.on" .) -}}
{{- if not (include "crescendo.engine.on" .) }}{{ fail "embedded: needs the engine" }}{{ end -}}
{{- if dig "prometheus-adapter" "prometheus" "url" "" .Values.AsMap }}{{ fail "embedded: the engine answers itself; leave `prometheus-adapter.prometheus.url` empty" }}{{ end -}}
true
{{- end -}}
{{- end -}}
{{/* Who serves the metrics API: `app.kubernetes.io/name` and ServiceAccount of the pods. */}}
{{- define "crescendo.adapter.server" -}}
{{- ternary "prometheus" "prometheus-adapter" .Values.embedded -}}
{{- end -}}
{{- define "crescendo.adapter.account" -}}
{{- if .Values.embedded }}{{ include "crescendo.engine.name" . }}{{ else }}{{ include "crescendo.adapter.name" . }}{{ end -}}
{{- end -}}
{{- define "crescendo.hpa.on" -}}
{{- if and .Values.asr.enabled .Values.scaling.auto.enabled .Values.scaling.auto.lightningAsr.hpa.enabled }}true{{ end -}}
{{- end -}}
{{- define "crescendo.asrMonitor.on" -}}
{{- if and .Values.asr.enabled .Values.scaling.auto.enabled .Values.scaling.auto.lightningAsr.servicemonitor.enabled }}true{{ end -}}
{{- end -}}

{{/* Labels that select: of (list root name). */}}
{{- define "crescendo.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end -}}

{{/* All labels: of (list root name). */}}
{{- define "crescendo.labels" -}}
{{- $root := index . 0 -}}
{{ include "crescendo.selector" . }}
app.kubernetes.io/part-of: crescendo
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels of pods: without versions, so that an upgrade that changes nothing else restarts nobody: of (list root name).
*/}}
{{- define "crescendo.podLabels" -}}
{{ include "crescendo.selector" . }}
app.kubernetes.io/part-of: crescendo
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "crescendo.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "crescendo.asr.image" -}}
{{- if .Values.asr.gpu.enabled -}}
{{ .Values.image.repository }}:{{ default (printf "%s-cuda" (default .Chart.AppVersion .Values.image.tag)) .Values.asr.gpu.imageTag }}
{{- else -}}
{{ include "crescendo.image" . }}
{{- end -}}
{{- end -}}

{{/* What every pod has: the restricted profile of the pod security standards. */}}
{{- define "crescendo.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "crescendo.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods may run: of a map with the keys of a pod. */}}
{{- define "crescendo.placement" -}}
{{- $placement := dict -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" -}}
{{- with index $ $key }}{{- $_ := set $placement $key . }}{{- end -}}
{{- end -}}
{{- if $placement }}{{ toYaml $placement }}{{ end -}}
{{- end -}}

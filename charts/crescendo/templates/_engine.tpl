{{/*
The engine's configuration: a prometheus.yml with the user's own jobs and rules, and a Prometheus object that selects
the monitors and rules of the cluster.
*/}}

{{- define "crescendo.prometheusSpec" -}}
{{- toYaml (dig "kube-prometheus-stack" "prometheus" "prometheusSpec" dict .Values.AsMap) -}}
{{- end -}}

{{/* A list or a string that is a template, as a YAML list: of (list root value). */}}
{{- define "crescendo.templated" -}}
{{- $value := index . 1 -}}
{{- tpl (ternary $value (toYaml $value) (kindIs "string" $value)) (index . 0) | trim -}}
{{- end -}}

{{- define "crescendo.engine.config" -}}
{{- $spec := dig "kube-prometheus-stack" "prometheus" "prometheusSpec" dict .Values.AsMap -}}
global:
  scrape_interval: {{ default "30s" $spec.scrapeInterval }}
  {{- with $spec.scrapeTimeout }}
  scrape_timeout: {{ . }}
  {{- end }}
  evaluation_interval: {{ default "30s" $spec.evaluationInterval }}
  external_labels:
    {{- $labels := dict "prometheus" (printf "%s/%s" (include "crescendo.engine.namespace" .) (include "crescendo.engine.name" .)) "prometheus_replica" "${POD_NAME}" }}
    {{- toYaml (merge dict (default dict $spec.externalLabels) $labels) | nindent 4 }}
rule_files:
  - /etc/crescendo/rules/*.yaml
{{- with $spec.additionalAlertManagerConfigs }}
alerting:
  alertmanagers:
    {{- include "crescendo.templated" (list $ .) | nindent 4 }}
{{- end }}
{{- with $spec.additionalRemoteWrite }}
remote_write:
  {{- toYaml . | nindent 2 }}
{{- end }}
scrape_configs:
{{- with $spec.additionalScrapeConfigs }}
{{- $jobs := include "crescendo.templated" (list $ .) }}
{{- range fromYamlArray $jobs }}
{{- if and (kindIs "map" .) (eq (toString .job_name) "kube-state-metrics") (include "crescendo.state.resources" $) }}
{{- fail "additionalScrapeConfigs: the job `kube-state-metrics` would count every object twice; leave `engine.stateMetrics.resources` empty beside it" }}
{{- end }}
{{- end }}
{{ $jobs }}
{{- else }} []
{{- end }}
{{- end -}}

{{/* Keys of the Prometheus object that are taken as they stand. */}}
{{- define "crescendo.engine.passedOn" -}}
scrapeTimeout scrapeProtocols scrapeClasses serviceDiscoveryRole podTargetLabels ignoreNamespaceSelectors
overrideHonorLabels overrideHonorTimestamps enforcedNamespaceLabel excludedFromEnforcement enforcedSampleLimit
enforcedTargetLimit enforcedLabelLimit enforcedLabelNameLengthLimit enforcedLabelValueLengthLimit
enforcedKeepDroppedTargets enforcedBodySizeLimit sampleLimit targetLimit labelLimit labelNameLengthLimit
labelValueLengthLimit keepDroppedTargets
{{- end -}}

{{/*
Which monitors and rules of the cluster are taken. As in kube-prometheus-stack, a kind whose selector is empty is that
of this release, or all of it where `…SelectorNilUsesHelmValues` is false.
*/}}
{{- define "crescendo.engine.object" -}}
{{- $spec := dig "kube-prometheus-stack" "prometheus" "prometheusSpec" dict .Values.AsMap -}}
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata:
  name: {{ include "crescendo.engine.name" . }}
  namespace: {{ include "crescendo.engine.namespace" . }}
spec:
  scrapeInterval: {{ default "30s" $spec.scrapeInterval }}
  evaluationInterval: {{ default "30s" $spec.evaluationInterval }}
  {{- range $kind := list "serviceMonitor" "podMonitor" "probe" "scrapeConfig" "rule" }}
  {{- $selector := index $spec (printf "%sSelector" $kind) }}
  {{- $nil := printf "%sSelectorNilUsesHelmValues" $kind }}
  {{- if and (not $selector) (ternary (index $spec $nil) true (hasKey $spec $nil)) }}
  {{- $selector = dict "matchLabels" (dict "release" $.Release.Name) }}
  {{- end }}
  {{ $kind }}Selector: {{ toJson (default dict $selector) }}
  {{ $kind }}NamespaceSelector: {{ toJson (default dict (index $spec (printf "%sNamespaceSelector" $kind))) }}
  {{- end }}
  {{- range $key := include "crescendo.engine.passedOn" . | replace "\n" " " | splitList " " | compact }}
  {{- with index $spec $key }}
  {{ $key }}: {{ toJson . }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* The objects whose state is told, separated by commas; nothing: none. */}}
{{- define "crescendo.state.resources" -}}
{{- if dig "kube-prometheus-stack" "kubeStateMetrics" "enabled" true .Values.AsMap -}}
{{- join "," .Values.engine.stateMetrics.resources -}}
{{- end -}}
{{- end -}}

{{/* The namespaces of these objects, separated by commas; nothing: all. */}}
{{- define "crescendo.state.namespaces" -}}
{{- if not .Values.engine.stateMetrics.allNamespaces -}}
{{- default (list (include "crescendo.asr.namespace" .)) .Values.engine.stateMetrics.namespaces | uniq | sortAlpha | join "," -}}
{{- end -}}
{{- end -}}

{{/* The rights to watch these objects, as rules of a role: of (list root isNamespaced). */}}
{{- define "crescendo.state.rules" -}}
{{- $all := include "crescendo.state.resources" (index . 0) | splitList "," | compact | sortAlpha -}}
{{- $groups := dict "apps" (list) "autoscaling" (list) "" (list) -}}
{{- range $all -}}
{{- $group := get (dict "deployments" "apps" "replicasets" "apps" "statefulsets" "apps" "horizontalpodautoscalers" "autoscaling") . -}}
{{- if eq (index $ 1) (ne . "nodes") -}}
{{- $_ := set $groups $group (append (get $groups $group) .) -}}
{{- end -}}
{{- end -}}
{{- range $group, $resources := $groups -}}
{{- with $resources }}
- {apiGroups: [{{ $group | quote }}], resources: [{{ join ", " . }}], verbs: [list, watch]}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Rule files, name → groups, from the three places where people put them: the real one at the top, the seed's two.
Of one name in several places the outer one counts.
*/}}
{{- define "crescendo.engine.rules" -}}
{{- $stack := dig "kube-prometheus-stack" dict .Values.AsMap -}}
{{- $top := default dict $stack.additionalPrometheusRulesMap -}}
{{- $middle := dig "prometheus" "additionalPrometheusRulesMap" dict $stack -}}
{{- $inner := dig "prometheus" "prometheusSpec" "additionalPrometheusRulesMap" dict $stack -}}
{{- $all := merge dict $top $middle $inner -}}
{{- if not $all -}}
{{- range $stack.additionalPrometheusRules }}
{{- $_ := set $all .name (dict "groups" .groups) -}}
{{- end -}}
{{- end -}}
{{- $files := dict -}}
{{- range $name, $file := $all -}}
{{- $_ := set $files (printf "%s.yaml" $name) (toYaml (dict "groups" $file.groups)) -}}
{{- end -}}
{{- if $files }}{{ toYaml $files }}{{ end -}}
{{- end -}}

{{/*
The engine's configuration: a prometheus.yml with the jobs that Prometheus Operator would make of this chart's
ServiceMonitors, then the user's own.
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
{{- $jobs := list }}
{{- if include "crescendo.asrMonitor.on" . }}
{{- $monitor := .Values.scaling.auto.lightningAsr.servicemonitor }}
{{- $jobs = append $jobs (dict "namespace" (include "crescendo.asr.namespace" .) "name" .Values.asr.name "port" "metrics" "interval" $monitor.interval "labels" (dict "app" .Values.asr.name)) }}
{{- end }}
{{- if .Values.engine.selfMonitor }}
{{- $jobs = append $jobs (dict "namespace" (include "crescendo.engine.namespace" .) "name" (include "crescendo.engine.name" .) "port" "http-web" "interval" "" "labels" (include "crescendo.selector" (list . "prometheus") | fromYaml)) }}
{{- end }}
{{- range $jobs }}
{{ include "crescendo.engine.job" . }}
{{- end }}
{{- with $spec.additionalScrapeConfigs }}
{{ include "crescendo.templated" (list $ .) }}
{{- end }}
{{- if and (not $jobs) (not $spec.additionalScrapeConfigs) }} []
{{- end }}
{{- end -}}

{{/* The job of a ServiceMonitor with one endpoint, its relabelling in the operator's order. */}}
{{- define "crescendo.engine.job" -}}
- job_name: serviceMonitor/{{ .namespace }}/{{ .name }}/0
  honor_labels: false
  {{- with .interval }}
  scrape_interval: {{ . }}
  {{- end }}
  metrics_path: /metrics
  kubernetes_sd_configs:
    - role: endpointslice
      namespaces: {names: [{{ .namespace }}]}
  relabel_configs:
    - {source_labels: [job], target_label: __tmp_prometheus_job_name}
    {{- range $key, $value := .labels }}
    {{- $label := regexReplaceAll "[^a-zA-Z0-9_]" $key "_" }}
    - {action: keep, source_labels: [__meta_kubernetes_service_label_{{ $label }}, __meta_kubernetes_service_labelpresent_{{ $label }}], regex: ({{ $value }});true}
    {{- end }}
    - {action: keep, source_labels: [__meta_kubernetes_endpointslice_port_name], regex: {{ .port }}}
    - {source_labels: [__meta_kubernetes_endpointslice_address_target_kind, __meta_kubernetes_endpointslice_address_target_name], separator: ;, regex: Node;(.*), replacement: "${1}", target_label: node}
    - {source_labels: [__meta_kubernetes_endpointslice_address_target_kind, __meta_kubernetes_endpointslice_address_target_name], separator: ;, regex: Pod;(.*), replacement: "${1}", target_label: pod}
    - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
    - {source_labels: [__meta_kubernetes_service_name], target_label: service}
    - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
    - {source_labels: [__meta_kubernetes_pod_container_name], target_label: container}
    - {action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: (Failed|Succeeded)}
    - {source_labels: [__meta_kubernetes_service_name], target_label: job, replacement: "${1}"}
    - {target_label: endpoint, replacement: {{ .port }}}
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

{{/* The adapter's source: what the values name, else the engine of this release. */}}
{{- define "crescendo.adapter.source" -}}
{{- $prometheus := dig "prometheus-adapter" "prometheus" dict .Values.AsMap -}}
{{- if $prometheus.url -}}
{{- tpl $prometheus.url . | trimSuffix "/" -}}
{{- with int $prometheus.port }}:{{ . }}{{ end -}}
{{- default "" $prometheus.path -}}
{{- else -}}
{{- if not (include "crescendo.engine.on" .) }}{{ fail "prometheus-adapter.prometheus.url: needed where `engine.enabled` is false" }}{{ end -}}
{{- printf "http://%s.%s.svc:%d%s" (include "crescendo.engine.name" .) (include "crescendo.engine.namespace" .) (int (dig "kube-prometheus-stack" "prometheus" "service" "port" 9090 .Values.AsMap)) (dig "kube-prometheus-stack" "prometheus" "prometheusSpec" "routePrefix" "" .Values.AsMap | trimSuffix "/") -}}
{{- end -}}
{{- end -}}

{{/* The groups whose APIService this release registers: only what rules can serve. */}}
{{- define "crescendo.adapter.services" -}}
{{- $rules := dig "prometheus-adapter" "rules" dict .Values.AsMap -}}
{{- if or $rules.existing $rules.default $rules.custom -}}
v1beta1.custom.metrics.k8s.io v1beta2.custom.metrics.k8s.io {{ end -}}
{{- if or $rules.existing $rules.external -}}
v1beta1.external.metrics.k8s.io
{{- end -}}
{{- end -}}

{{- define "crescendo.adapter.tlsSecret" -}}
{{- if eq .Values.adapter.tls.source "existingSecret" -}}
{{- required "adapter.tls.existingSecret: needed with `source: existingSecret`" .Values.adapter.tls.existingSecret -}}
{{- else -}}
{{- include "crescendo.adapter.name" . }}-{{ eq .Values.adapter.tls.source "own" | ternary "certificate" "tls" }}
{{- end -}}
{{- end -}}

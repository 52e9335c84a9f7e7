{{/*
Keys of the compatibility sections that are set and have no effect, one a line: of (dict "path" "value" "known").
A switch that turns something off that this chart does not have is no complaint.
*/}}
{{- define "crescendo.ineffective" -}}
{{- $path := .path -}}
{{- $known := .known -}}
{{- if has $path $known -}}
{{- else -}}
{{- $above := false -}}
{{- range $known }}{{- if hasPrefix (printf "%s." $path) . }}{{- $above = true }}{{- end }}{{- end -}}
{{- if and $above (kindIs "map" .value) -}}
{{- range $key, $value := .value -}}
{{- include "crescendo.ineffective" (dict "path" (printf "%s.%s" $path $key) "value" $value "known" $known) -}}
{{- end -}}
{{- else if and (kindIs "map" .value) (eq (dig "enabled" true .value) false) -}}
{{- else if and (kindIs "map" .value) (not .value) -}}
{{- else if and $above (not .value) -}}
{{- else }}
{{ $path }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "crescendo.ineffectiveKeys" -}}
{{- $known := list -}}
{{- range .Files.Lines "files/compatibility-keys.txt" -}}
{{- if and . (not (hasPrefix "#" .)) }}{{- $known = append $known . }}{{- end -}}
{{- end -}}
{{- range $section := list "kube-prometheus-stack" "prometheus-adapter" -}}
{{- include "crescendo.ineffective" (dict "path" $section "value" (index $.Values.AsMap $section) "known" $known) -}}
{{- end -}}
{{- end -}}

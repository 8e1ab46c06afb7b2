{{/* Names and labels. A name leaves room for the suffixes of Jobs and pods. */}}

{{- define "orchard.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimAll "-" -}}
{{- end -}}

{{- define "orchard.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 30 | trimAll "-" -}}
{{- else if contains (include "orchard.name" .) .Release.Name -}}
{{- .Release.Name | trunc 30 | trimAll "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "orchard.name" .) | trunc 30 | trimAll "-" -}}
{{- end -}}
{{- end -}}

{{/* The selector of pods, without the chart's version. Usage: include "orchard.selector" (list $ "serving") */}}
{{- define "orchard.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: orchard
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "orchard.labels" -}}
{{- $root := index . 0 -}}
{{ include "orchard.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: orchard
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image: the value, else that of images.env, with the mirror's prefix. Usage: include "orchard.image" (list $ "serving") */}}
{{- define "orchard.image" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $found := index $root.Values.images $name -}}
{{- if not $found -}}
{{- $key := printf "%s_IMAGE=" (snakecase $name | upper) -}}
{{- range $root.Files.Lines "files/images.env" -}}
{{- if hasPrefix $key . -}}{{- $found = trimPrefix $key . -}}{{- end -}}
{{- end -}}
{{- if $root.Values.images.registry -}}{{- $found = printf "%s/%s" (trimSuffix "/" $root.Values.images.registry) $found -}}{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{/* The channels, where they are not the default: `orchard` and its programs read them. Usage: include "orchard.channelsEnv" . */}}
{{- define "orchard.channelsEnv" -}}
{{- with .Values.channels -}}
- {name: ORCHARD_CHANNELS, value: {{ join "," . | quote }}}
{{- end -}}
{{- end -}}

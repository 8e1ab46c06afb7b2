{{/* Envoy's heap in MiB, beyond which it refuses requests: two thirds of the memory's limit, which counts the program, too. */}}
{{- define "orchard.router.heap" -}}
{{- divf (include "orchard.amount" .Values.router.resources.limits.memory | float64) 1572864.0 | floor | int64 -}}
{{- end -}}

{{/* The Secret of the tokens that callers send: the router's, else the model server's; empty: none is needed. */}}
{{- define "orchard.frontTokens" -}}
{{ .Values.router.enabled | ternary .Values.router.tokenSecret "" | default .Values.serving.tokenSecret }}
{{- end -}}

{{/* What callers and Ingress reach: the router where there is one, else the model server. */}}
{{- define "orchard.front" -}}
{{ include "orchard.fullname" . }}-{{ .Values.router.enabled | ternary "router" "serving" }}
{{- end -}}
{{- define "orchard.frontPort" -}}
{{ .Values.router.enabled | ternary 8080 8501 }}
{{- end -}}

{{/* What answers for the page: the router where there is one, else the console. */}}
{{- define "orchard.page" -}}
{{ include "orchard.fullname" . }}-{{ .Values.router.enabled | ternary "router" "console" }}
{{- end -}}

{{/* The cluster's DNS, wherever it runs. */}}
{{- define "orchard.egressDns" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{/* Who may send requests: the ports follow. */}}
{{- define "orchard.ingressClients" -}}
- from: {{- default (list (dict "podSelector" (dict))) .Values.networkPolicy.clients | toYaml | nindent 4 }}
{{- end -}}
{{- define "orchard.ingressTest" -}}
- from: [{podSelector: {matchLabels: {{ include "orchard.selector" (list . "test") | fromYaml | toJson }}}}]
{{- end -}}

{{- define "orchard.egressStore" -}}
{{- if .Values.objectStore.enabled -}}
- to: [{podSelector: {matchLabels: {{ include "orchard.selector" (list . "store") | fromYaml | toJson }}}}]
  ports: [{port: 8333}]
{{- else -}}
{{- include "orchard.egressAddresses" .Values.networkPolicy.storeAddresses -}}
{{- end -}}
{{- end -}}

{{/* Usage: include "orchard.egressAddresses" CIDRS */}}
{{- define "orchard.egressAddresses" -}}
- to:
    {{- range . }}
    - ipBlock:
        cidr: {{ . }}
        {{- if eq . "0.0.0.0/0" }}
        except: [169.254.169.254/32] # the node's own identity is nobody's business
        {{- end }}
    {{- end }}
{{- end -}}

{{/* Usage: include "orchard.policy" (list $ "serving"): the head of a policy for one component */}}
{{- define "orchard.policy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "orchard.fullname" $root }}-{{ index . 1 }}
  labels: {{- include "orchard.labels" . | nindent 4 }}
{{- end -}}

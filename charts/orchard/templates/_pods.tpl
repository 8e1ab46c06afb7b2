{{/* Common to every pod: no privileges, a token only on request, none of the cluster's Service variables
     (they begin with ORCHARD_ too and are not our settings). Usage: include "orchard.pod" (list $ "serving" false) */}}
{{- define "orchard.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "orchard.fullname" $root }}-{{ index . 1 }}
automountServiceAccountToken: {{ index . 2 }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with $root.Values.podSecurity }}
  {{- if hasKey . "uid" }}
  runAsUser: {{ int64 .uid }}
  {{- end }}
  {{- if hasKey . "gid" }}
  runAsGroup: {{ int64 .gid }}
  {{- end }}
  {{- if hasKey . "fsGroup" }}
  fsGroup: {{ int64 .fsGroup }}
  {{- end }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Common to every container. Usage: include "orchard.container" (list $ "serving"): the image's name */}}
{{- define "orchard.container" -}}
{{- $root := index . 0 -}}
image: {{ include "orchard.image" . | quote }}
imagePullPolicy: {{ $root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "orchard.storeUrl" -}}
{{- if .Values.objectStore.enabled -}}
http://{{ include "orchard.fullname" . }}-store:8333
{{- else -}}
{{- .Values.objectStore.endpoint -}}
{{- end -}}
{{- end -}}

{{/* Whether an identity of the store has keys in a Secret; else it has its rights from the cloud. */}}
{{- define "orchard.storeSecret" -}}
{{- $root := index . 0 -}}
{{- if not $root.Values.objectStore.cloudIdentity -}}
{{- default (printf "%s-store-%s" (include "orchard.fullname" $root) (index . 1)) (index $root.Values.objectStore.existingSecrets (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* The settings of the store, as one identity. Usage: include "orchard.storeEnv" (list $ "sync") */}}
{{- define "orchard.storeEnv" -}}
{{- $root := index . 0 -}}
- {name: ORCHARD_STORE_URL, value: "s3://{{ $root.Values.objectStore.bucket }}"}
{{- with include "orchard.storeUrl" $root }}
- {name: ORCHARD_STORE_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: ORCHARD_STORE_REGION, value: {{ $root.Values.objectStore.region | quote }}}
{{- if include "orchard.storeSecret" . }}
- {name: ORCHARD_STORE_CREDENTIALS_FILE, value: /keys/{{ index . 1 }}/credentials}
{{- end }}
{{- if $root.Values.objectStore.caSecret }}
- {name: ORCHARD_STORE_CA_FILE, value: {{ include "orchard.storeCaFile" $root }}}
{{- end }}
{{- end -}}

{{/* The authority of a store with a private one: whoever talks to the store has its file. A folder is mounted, so that
     a new authority reaches running pods. */}}
{{- define "orchard.storeCaFile" -}}/keys/store-ca/ca.crt{{- end -}}
{{- define "orchard.storeCaVolume" -}}
{{- with .Values.objectStore.caSecret }}
- name: store-ca
  secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end -}}

{{- define "orchard.storeMount" -}}
{{- if include "orchard.storeSecret" . }}
- {name: key-{{ index . 1 }}, mountPath: /keys/{{ index . 1 }}, readOnly: true}
{{- end }}
{{- if (index . 0).Values.objectStore.caSecret }}
- {name: store-ca, mountPath: /keys/store-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "orchard.storeVolume" -}}
{{- if include "orchard.storeSecret" . }}
- name: key-{{ index . 1 }}
  secret: {secretName: {{ include "orchard.storeSecret" . | quote }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{/* The tokens of the model server: the engine accepts all of them, clients in this release send the first. */}}
{{- define "orchard.tokenMount" -}}
{{- if .Values.serving.tokenSecret }}
- {name: tokens, mountPath: /keys/tokens, readOnly: true}
{{- end }}
{{- end -}}
{{- define "orchard.tokenVolume" -}}
{{- with .Values.serving.tokenSecret }}{{ include "orchard.tokenSecretVolume" (list "tokens" .) }}{{ end }}
{{- end -}}

{{/* Usage: include "orchard.tokenSecretVolume" (list "tokens" SECRET): the entry `tokens` of a Secret, as a file */}}
{{- define "orchard.tokenSecretVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 | quote }}
    defaultMode: 0440
    items: [{key: tokens, path: tokens}]
{{- end -}}

{{- define "orchard.signingSecret" -}}
{{- default (printf "%s-signing" (include "orchard.fullname" .)) .Values.signing.existingSecret -}}
{{- end -}}

{{/* The public half of the signing pair: a model server's pod gets no other. */}}
{{- define "orchard.trustedVolume" -}}
- name: trusted
  secret:
    secretName: {{ include "orchard.signingSecret" . | quote }}
    defaultMode: 0440
    items: [{key: trusted-keys.pem, path: trusted-keys.pem}]
{{- end -}}

{{/* The nodes for a pod. Usage: include "orchard.scheduling" .Values.airflow */}}
{{- define "orchard.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

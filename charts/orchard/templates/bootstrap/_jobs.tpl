{{/* Which of the two bootstrap Jobs there are, and their pods. A Job cannot be changed, so its name holds a digest of
     its pod: another pod is another Job, and the same one is left alone. */}}

{{- define "orchard.makesStoreKeys" -}}
{{- if and .Values.objectStore.enabled (not .Values.objectStore.existingSecrets.server) -}}yes{{- end -}}
{{- end -}}

{{- define "orchard.makesAirflowKeys" -}}
{{- if and .Values.airflow.enabled (not .Values.airflow.existingSecret) -}}yes{{- end -}}
{{- end -}}

{{- define "orchard.makesDatabaseKeys" -}}
{{- if and .Values.airflow.enabled .Values.airflow.database.enabled (not .Values.airflow.database.existingSecret) -}}yes{{- end -}}
{{- end -}}

{{- define "orchard.makesKeys" -}}
{{- if or (include "orchard.makesStoreKeys" .) (not .Values.signing.existingSecret) (include "orchard.makesAirflowKeys" .) (include "orchard.makesDatabaseKeys" .) -}}yes{{- end -}}
{{- end -}}

{{- define "orchard.makesBucket" -}}
{{- if or .Values.objectStore.enabled .Values.objectStore.existingSecrets.admin -}}yes{{- end -}}
{{- end -}}

{{- define "orchard.keysPod" -}}
metadata:
  labels: {{- include "orchard.labels" (list . "keys") | nindent 4 }}
spec:
  {{- include "orchard.pod" (list . "keys" true) | nindent 2 }}
  restartPolicy: OnFailure
  containers:
    - name: keys
      {{- include "orchard.container" (list . "training") | nindent 6 }}
      args:
        - bootstrap
        - keys
        {{- if include "orchard.makesStoreKeys" . }}
        - --store={{ include "orchard.fullname" . }}-store
        - --bucket={{ .Values.objectStore.bucket }}
        {{- end }}
        {{- if not .Values.signing.existingSecret }}
        - --signing={{ include "orchard.signingSecret" . }}
        {{- end }}
        {{- if include "orchard.makesAirflowKeys" . }}
        - --airflow={{ include "orchard.airflowSecret" . }}
        {{- end }}
        {{- if include "orchard.makesDatabaseKeys" . }}
        - --database={{ include "orchard.databaseSecret" . }}
        {{- end }}
        - --record={{ include "orchard.fullname" . }}-keys
        {{- if not .Values.keep }}
        - --owner={{ include "orchard.fullname" . }}-release
        {{- end }}
        - --label=app.kubernetes.io/name=orchard
        - --label=app.kubernetes.io/instance={{ .Release.Name }}
        - --label=app.kubernetes.io/component=keys
      resources:
        requests: {cpu: 50m, memory: 128Mi, ephemeral-storage: 16Mi}
        limits: {cpu: "1", memory: 512Mi, ephemeral-storage: 64Mi}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 32Mi}
{{- end -}}

{{- define "orchard.bucketPod" -}}
metadata:
  labels: {{- include "orchard.labels" (list . "bucket") | nindent 4 }}
spec:
  {{- include "orchard.pod" (list . "bucket" false) | nindent 2 }}
  restartPolicy: OnFailure
  containers:
    - name: bucket
      {{- include "orchard.container" (list . "training") | nindent 6 }}
      args: [bootstrap, bucket{{ if not .Values.objectStore.forbidDeletes }}, --no-policy{{ end }}]
      env: {{- include "orchard.storeEnv" (list . "admin") | nindent 8 }}
      resources:
        requests: {cpu: 50m, memory: 128Mi, ephemeral-storage: 16Mi}
        limits: {cpu: "1", memory: 512Mi, ephemeral-storage: 64Mi}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- include "orchard.storeMount" (list . "admin") | nindent 8 }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 32Mi}
    {{- include "orchard.storeVolume" (list . "admin") | nindent 4 }}
    {{- with include "orchard.storeCaVolume" . }}{{ . | trim | nindent 4 }}{{ end }}
{{- end -}}

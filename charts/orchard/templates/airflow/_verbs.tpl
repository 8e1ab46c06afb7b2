{{/* The pods of Airflow's tasks, one for each verb. `verb` is what names it, `key` the store's identity that it works as. */}}
{{- define "orchard.verbPod" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .verb }}
  labels: {{- include "orchard.labels" (list $root "verb") | nindent 4 }}
  annotations:
    orchard.pod/start-seconds: {{ int $root.Values.airflow.startSeconds | quote }}
spec:
  {{- include "orchard.pod" (list $root .account false) | nindent 2 }}
  restartPolicy: Never
  activeDeadlineSeconds: {{ eq .weight "heavy" | ternary $root.Values.training.deadlineSeconds $root.Values.airflow.lightDeadlineSeconds | int }}
  terminationGracePeriodSeconds: {{ eq .weight "heavy" | ternary 120 30 }} # a checkpoint reaches the store in it
  {{- with include "orchard.place" $root.Values.training }}{{ . | trim | nindent 2 }}{{ end }}
  containers:
    - name: base
      {{- include "orchard.container" (list $root "training") | nindent 6 }}
      command: [tini, --, orchard]
      args: [step, {{ .verb }}]
      env:
        - {name: ORCHARD_RUN_ID, value: unnamed} # Airflow names the run
        - {name: ORCHARD_DATASET, value: {{ $root.Values.dataset | quote }}}
        - {name: ORCHARD_MODEL, value: {{ $root.Values.model | quote }}}
        - {name: ORCHARD_CHANNEL, value: {{ $root.Values.channel }}}
        {{- include "orchard.keysEnv" (list $root (list .key) .trusts .signs) | nindent 8 }}
      resources: {{- toYaml (index $root.Values.training.resources .weight) | nindent 8 }}
      volumeMounts:
        - {name: workspace, mountPath: /workspace}
        - {name: tmp, mountPath: /tmp}
        - {name: project, mountPath: /project, readOnly: true}
        {{- include "orchard.keysMounts" (list $root (list .key) .trusts .signs) | nindent 8 }}
  volumes:
    - name: workspace
      emptyDir: {sizeLimit: {{ $root.Values.training.workspace.size }}}
    - name: tmp
      emptyDir: {sizeLimit: 2Gi}
    - name: project
      configMap: {name: {{ include "orchard.fullname" $root }}-project, optional: true}
    {{- if .signs }}
    {{- include "orchard.signingVolume" $root | nindent 4 }}
    {{- end }}
    {{- if .trusts }}
    {{- include "orchard.trustedVolume" $root | nindent 4 }}
    {{- end }}
    {{- include "orchard.storeVolume" (list $root .key) | nindent 4 }}
{{- end -}}

{{/* All of them, as the data of a ConfigMap. */}}
{{- define "orchard.verbPods" -}}
{{- $root := . -}}
{{- $reads := dict "account" "training" "key" "trainer" }}
{{- $writes := dict "account" "training" "key" "publisher" "trusts" true }}
{{- range list
      (merge (dict "verb" "validate" "weight" "light") $reads)
      (merge (dict "verb" "train" "weight" "heavy") $reads)
      (merge (dict "verb" "evaluate" "weight" "heavy") $reads)
      (merge (dict "verb" "gate" "weight" "heavy") $writes)
      (merge (dict "verb" "publish" "weight" "heavy" "signs" true) $writes)
      (merge (dict "verb" "promote" "weight" "light" "signs" true) $writes)
      (dict "verb" "ingest" "weight" "light" "account" "ingest" "key" "ingest")
      (dict "verb" "batch" "weight" "heavy" "account" "batch" "key" "batch" "trusts" true)
      (dict "verb" "housekeeping" "weight" "light" "account" "housekeeping" "key" "housekeeping" "trusts" true) }}
{{ .verb }}.yaml: |
  {{- include "orchard.verbPod" (merge (dict "root" $root) .) | nindent 2 }}
{{- end }}
{{- end -}}

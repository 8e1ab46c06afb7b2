{{/* The pods of Airflow's tasks, one for each verb. A row of files/steps.yaml gives its rights and resources. */}}
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
  {{- with include "orchard.scheduling" $root.Values.training }}{{ . | trim | nindent 2 }}{{ end }}
  containers:
    - name: base
      {{- include "orchard.container" (list $root "training") | nindent 6 }}
      command: [tini, --, orchard]
      args: [step, {{ .verb }}]
      env:
        - {name: ORCHARD_RUN_ID, value: unnamed} # Airflow names the run
        - {name: ORCHARD_DATASET, value: {{ $root.Values.dataset | quote }}}
        - {name: ORCHARD_MODEL, value: {{ $root.Values.model | quote }}}
        - {name: ORCHARD_CHANNEL, value: {{ $root.Values.channel | quote }}}
        {{- with include "orchard.channelsEnv" $root }}{{ . | nindent 8 }}{{ end }}
        {{- include "orchard.keysEnv" (list $root (list .identity) .trusts .signs) | nindent 8 }}
      resources: {{- toYaml (index $root.Values.training.resources .weight) | nindent 8 }}
      volumeMounts:
        - {name: workspace, mountPath: /workspace}
        - {name: tmp, mountPath: /tmp}
        - {name: project, mountPath: /project, readOnly: true}
        {{- include "orchard.keysMounts" (list $root (list .identity) .trusts .signs) | nindent 8 }}
  volumes:
    - name: workspace
      emptyDir: {sizeLimit: {{ $root.Values.training.workspace.size | quote }}}
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
    {{- include "orchard.storeVolume" (list $root .identity) | nindent 4 }}
    {{- with include "orchard.storeCaVolume" $root }}{{ . | trim | nindent 4 }}{{ end }}
{{- end -}}

{{/* All of them, as the data of a ConfigMap. */}}
{{- define "orchard.verbPods" -}}
{{- $root := . -}}
{{- range (.Files.Get "files/steps.yaml" | fromYaml).steps }}
{{ .verb }}.yaml: |
  {{- include "orchard.verbPod" (merge (dict "root" $root) .) | nindent 2 }}
{{- end }}
{{- end -}}

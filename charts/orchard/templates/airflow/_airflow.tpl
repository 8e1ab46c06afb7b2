{{/* What all parts of Airflow share. */}}

{{- define "orchard.airflowSecret" -}}
{{- default (printf "%s-airflow" (include "orchard.fullname" .)) .Values.airflow.existingSecret -}}
{{- end -}}

{{- define "orchard.databaseSecret" -}}
{{- default (printf "%s-database" (include "orchard.fullname" .)) .Values.airflow.database.existingSecret -}}
{{- end -}}

{{/* The account of a part: parts that start pods have their own, the others share one without rights. */}}
{{- define "orchard.airflowAccount" -}}
{{- $part := index . 1 -}}
{{- if has $part (list "scheduler" "triggerer") -}}airflow-{{ $part }}{{- else -}}airflow{{- end -}}
{{- end -}}

{{/* The settings of a release; those of every release are in orchestration/airflow/home/airflow.cfg.
     Usage: include "orchard.airflowEnv" $ */}}
{{- define "orchard.airflowEnv" -}}
{{- $keys := include "orchard.airflowSecret" . -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN
  valueFrom: {secretKeyRef: {name: {{ include "orchard.databaseSecret" . | quote }}, key: connection}}
- name: AIRFLOW__CORE__FERNET_KEY
  valueFrom: {secretKeyRef: {name: {{ $keys | quote }}, key: fernet-key}}
- name: AIRFLOW__API_AUTH__JWT_SECRET
  valueFrom: {secretKeyRef: {name: {{ $keys | quote }}, key: jwt-secret}}
- name: AIRFLOW__API__SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ $keys | quote }}, key: api-secret-key}}
- {name: AIRFLOW__CORE__EXECUTION_API_SERVER_URL, value: "http://{{ include "orchard.fullname" . }}-airflow:8080/execution/"}
- {name: AIRFLOW__LOGGING__REMOTE_LOGGING, value: "True"}
- {name: AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER, value: "s3://{{ .Values.objectStore.bucket }}/logs"}
- {name: AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID, value: logs}
{{- $extra := dict "region_name" .Values.objectStore.region -}}
{{- with include "orchard.storeUrl" . -}}
{{- $_ := set $extra "endpoint_url" . -}}
{{- $_ := set $extra "config_kwargs" (dict "s3" (dict "addressing_style" "path")) -}}
{{- end -}}
{{- if .Values.objectStore.caSecret -}}
{{- $_ := set $extra "verify" (include "orchard.storeCaFile" .) -}}
{{- end }}
- {name: AIRFLOW_CONN_LOGS, value: {{ dict "conn_type" "aws" "extra" $extra | toJson | quote }}}
{{- if include "orchard.storeSecret" (list . "airflow") }}
- {name: AWS_SHARED_CREDENTIALS_FILE, value: /keys/airflow/credentials}
{{- end }}
- {name: ORCHARD_PODS_DIR, value: /opt/orchard/pods}
- {name: ORCHARD_RELEASE, value: {{ .Release.Name | quote }}}
- {name: ORCHARD_NAMESPACE, value: {{ .Release.Namespace | quote }}}
- {name: ORCHARD_MODEL, value: {{ .Values.model | quote }}}
- {name: ORCHARD_DATASET, value: {{ .Values.dataset | quote }}}
- {name: ORCHARD_CHANNEL, value: {{ .Values.channel | quote }}}
{{- with include "orchard.channelsEnv" . }}
{{ . }}
{{- end }}
- {name: ORCHARD_PROFILE, value: {{ .Values.airflow.profile | quote }}}
- {name: ORCHARD_OWNER, value: {{ .Values.airflow.owner | quote }}}
- {name: ORCHARD_PAGES_URL, value: {{ .Values.airflow.pagesUrl | quote }}}
{{- range $name, $cron := .Values.airflow.schedules }}
- {name: ORCHARD_SCHEDULE_{{ $name | upper }}, value: {{ $cron | quote }}}
{{- end }}
{{- with .Values.airflow.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "orchard.airflowMounts" -}}
- {name: logs, mountPath: /opt/airflow/logs}
- {name: tmp, mountPath: /tmp}
- {name: pods, mountPath: /opt/orchard/pods, readOnly: true}
{{- if .Values.airflow.webserverConfig }}
- {name: log-in, mountPath: /opt/airflow/webserver_config.py, subPath: webserver_config.py, readOnly: true}
{{- end }}
{{- include "orchard.storeMount" (list . "airflow") }}
{{- end -}}

{{/* A part's pod. Usage: include "orchard.airflowPod" (dict "root" $ "part" "scheduler" "args" (list "scheduler")
     "ports" (list …) "probes" "…"). It waits until the tables of the database are those of its image. */}}
{{- define "orchard.airflowPod" -}}
{{- $root := .root -}}
metadata:
  labels: {{- include "orchard.labels" (list $root (printf "airflow-%s" .part)) | nindent 4 }}
  annotations:
    # other pod templates, another way to log in: other pods
    orchard/digest: {{ printf "%s%s" (include "orchard.verbPods" $root) $root.Values.airflow.webserverConfig | sha256sum | trunc 16 }}
spec:
  {{- include "orchard.pod" (list $root (include "orchard.airflowAccount" (list $root .part)) (ne (include "orchard.airflowAccount" (list $root .part)) "airflow")) | nindent 2 }}
  terminationGracePeriodSeconds: 60
  {{- with include "orchard.scheduling" $root.Values.airflow }}{{ . | trim | nindent 2 }}{{ end }}
  initContainers:
    - name: tables
      {{- include "orchard.container" (list $root "airflow") | nindent 6 }}
      args: [db, check-migrations, --migration-wait-timeout=600]
      env: {{- include "orchard.airflowEnv" $root | nindent 8 }}
      resources: {{- toYaml $root.Values.airflow.resources.migrate | nindent 8 }}
      volumeMounts: {{- include "orchard.airflowMounts" $root | nindent 8 }}
  containers:
    - name: {{ .part }}
      {{- include "orchard.container" (list $root "airflow") | nindent 6 }}
      args: {{- toYaml .args | nindent 8 }}
      env: {{- include "orchard.airflowEnv" $root | nindent 8 }}
      {{- with .ports }}
      ports: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- .probes | nindent 6 }}
      resources: {{- toYaml (index $root.Values.airflow.resources .part) | nindent 8 }}
      volumeMounts: {{- include "orchard.airflowMounts" $root | nindent 8 }}
  volumes:
    - name: logs
      emptyDir: {sizeLimit: 512Mi}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    - name: pods
      configMap: {name: {{ include "orchard.fullname" $root }}-pods}
    {{- if $root.Values.airflow.webserverConfig }}
    - name: log-in
      configMap: {name: {{ include "orchard.fullname" $root }}-airflow}
    {{- end }}
    {{- include "orchard.storeVolume" (list $root "airflow") | nindent 4 }}
    {{- with include "orchard.storeCaVolume" $root }}{{ . | trim | nindent 4 }}{{ end }}
{{- end -}}

{{/* A part's probes, all with the same check. Usage: include "orchard.probes" (dict "check" "httpGet: {…}" "ready" true) */}}
{{- define "orchard.probes" -}}
startupProbe:
  {{ .check }}
  periodSeconds: 3
  timeoutSeconds: 20
  failureThreshold: 200
{{- if .ready }}
readinessProbe:
  {{ .check }}
  periodSeconds: 5
  timeoutSeconds: 10
{{- end }}
livenessProbe:
  {{ .check }}
  periodSeconds: 30
  timeoutSeconds: 20
  failureThreshold: 4
{{- end -}}

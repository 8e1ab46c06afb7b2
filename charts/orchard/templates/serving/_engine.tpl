{{/* The two engines. They read the same folder and file, listen on the same ports and have the same probes. */}}

{{- define "orchard.engine.orchard" -}}
{{- include "orchard.container" (list . "serving") }}
args:
  - serve
  - --host=0.0.0.0
  - --port=8501
  - --grpc-port=8500
  - --models-config=/serving/models.config
  {{- if .Values.serving.tokenSecret }}
  - --token-file=/keys/tokens/tokens
  {{- end }}
  {{- with .Values.serving.engineArgs }}{{ toYaml . | nindent 2 }}{{ end }}
env:
  - {name: ORCHARD_MODEL, value: {{ .Values.model | quote }}}
  - {name: ORCHARD_LOG_FORMAT, value: json}
  {{- if .Values.serving.capture }}
  - {name: ORCHARD_CAPTURE, value: {{ .Values.serving.capture | quote }}}
  {{- include "orchard.storeEnv" (list . "capture") | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Not the image's entrypoint, which is a shell that does not forward signals. Labels may name versions that are not loaded
     yet, else a restart with labels in models.config fails; loading a broken version is abandoned after seconds, not minutes. */}}
{{- define "orchard.engine.tensorflow-serving" -}}
{{- include "orchard.container" (list . "tensorflowServing") }}
command: [/usr/bin/tensorflow_model_server]
args:
  - --port=8500
  - --rest_api_port=8501
  - --model_config_file=/serving/models.config
  - --model_config_file_poll_wait_seconds=1
  - --file_system_poll_wait_seconds=1
  - --allow_version_labels_for_unavailable_models=true
  - --max_num_load_retries=2
  - --load_retry_interval_micros=2000000
  - --num_load_threads=2
  - --enable_profiler=false
  - --monitoring_config_file=/engine/monitoring.config
  {{- with .Values.serving.engineArgs }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}

{{/* The time for a pod to end: first it still answers while clients learn of its end; then our engine answers in-flight
     requests (25 s at most), while TensorFlow's ignores SIGTERM and is killed. */}}
{{- define "orchard.graceSeconds" -}}
{{- add .Values.serving.drainSeconds (eq .Values.serving.engine "orchard" | ternary 30 2) -}}
{{- end -}}

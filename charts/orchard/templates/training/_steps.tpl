{{/* A step of a Job: one verb, in its own container with only the verb's rights. A
     step that an earlier pod of the same Job finished is not repeated: .done/ on the Job's volume records it.
     "outside_runs": it belongs to no run.
     Usage: include "orchard.step" (dict "root" $ "name" "train" "weight" "heavy" "run" (list "orchard" "train")
       "keys" (list "trainer") "every_pod" true) */}}
{{- define "orchard.step" -}}
{{- $root := .root -}}
- name: {{ .name }}
  {{- include "orchard.container" (list $root "training") | nindent 2 }}
  command: [tini, --, sh, -euc]
  args:
    {{- if .every_pod }}
    - exec "$@"
    {{- else }}
    - '[ ! -e ".done/$0" ] || { echo "$0: done already, by an earlier pod of this Job"; exit 0; }; "$@"; mkdir -p .done; touch ".done/$0"'
    {{- end }}
    - {{ .name }}
    {{- range .run }}
    - {{ . | quote }}
    {{- end }}
  env:
    {{- if not .outside_runs }}
    - {name: ORCHARD_RUN_ID, value: unnamed} # `orchard job` names the run
    {{- end }}
    - {name: ORCHARD_DATASET, value: {{ default $root.Values.dataset .dataset | quote }}}
    - {name: ORCHARD_MODEL, value: {{ $root.Values.model | quote }}}
    - {name: ORCHARD_CHANNEL, value: {{ $root.Values.channel | quote }}}
    {{- with include "orchard.channelsEnv" $root }}{{ . | nindent 4 }}{{ end }}
    {{- include "orchard.keysEnv" (list $root .keys .trusts .signs) | nindent 4 }}
  resources: {{- toYaml (index $root.Values.training.resources .weight) | nindent 4 }}
  volumeMounts:
    - {name: workspace, mountPath: /workspace}
    - {name: tmp, mountPath: /tmp}
    {{- if .project }}
    - {name: project, mountPath: /project, readOnly: true}
    {{- end }}
    {{- include "orchard.keysMounts" (list $root .keys .trusts .signs) | nindent 4 }}
{{- end -}}

{{/* A step of a run, from a row of files/steps.yaml. A step without trusted keys works on the Job's volume alone and has
     no key: docs/adr/0007-job-steps-hold-no-key.md. One with keys records itself, for `orchard runs`. Usage: include "orchard.runStep" (list $ ROW) */}}
{{- define "orchard.runStep" -}}
{{- $row := index . 1 -}}
{{- $keys := ternary (list $row.identity) list $row.trusts -}}
{{- $run := ternary (list "orchard" "step" "in-job" $row.verb) (list "orchard" $row.verb) $row.trusts -}}
{{- include "orchard.step" (merge (dict "root" (index . 0) "name" $row.verb "run" $run "keys" $keys) $row) -}}
{{- end -}}

{{/* The keys of a verb. Usage: include "orchard.keysEnv" (list $ (list "trainer") TRUSTS SIGNS) */}}
{{- define "orchard.keysEnv" -}}
{{- $root := index . 0 -}}
{{- range index . 1 }}
{{ include "orchard.storeEnv" (list $root .) }}
{{- end }}
{{- if index . 2 }}
- {name: ORCHARD_TRUSTED_KEYS_FILE, value: /keys/trusted/trusted-keys.pem}
{{- end }}
{{- if index . 3 }}
- {name: ORCHARD_SIGNING_KEY_FILE, value: /keys/signing/signing-key.pem}
{{- end }}
{{- end -}}

{{- define "orchard.keysMounts" -}}
{{- $root := index . 0 -}}
{{- range index . 1 }}
{{- include "orchard.storeMount" (list $root .) }}
{{- end }}
{{- if index . 2 }}
- {name: trusted, mountPath: /keys/trusted, readOnly: true}
{{- end }}
{{- if index . 3 }}
- {name: signing, mountPath: /keys/signing, readOnly: true}
{{- end }}
{{- end -}}

{{- define "orchard.signingVolume" -}}
- name: signing
  secret:
    secretName: {{ include "orchard.signingSecret" . | quote }}
    defaultMode: 0440
    items: [{key: signing-key.pem, path: signing-key.pem}]
{{- end -}}

{{/* The project's files, from the image or from the Job's ConfigMap. */}}
{{- define "orchard.prepare" -}}
cp -r /opt/orchard/project/. . && for file in /project/*; do case $file in */params.yaml) cp "$file" params.yaml;; */schema.yaml) cp "$file" data/schema.yaml;; esac; done
{{- end -}}

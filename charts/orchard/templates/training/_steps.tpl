{{/* A step of a Job: one verb, in a container of its own with the rights that the verb needs and no others. What a
     former pod of the same Job has done is not done again: it stands in .done/ on the Job's volume.
     Usage: include "orchard.step" (dict "root" $ "name" "train" "weight" "heavy" "run" (list "orchard" "train")
       "env" (list …) "keys" (list "trainer") "again" true) */}}
{{- define "orchard.step" -}}
{{- $root := .root -}}
- name: {{ .name }}
  {{- include "orchard.container" (list $root "training") | nindent 2 }}
  command: [tini, --, sh, -euc]
  args:
    {{- if .again }}
    - exec "$@"
    {{- else }}
    - '[ ! -e ".done/$0" ] || { echo "$0: done already, by an earlier pod of this Job"; exit 0; }; "$@"; mkdir -p .done; touch ".done/$0"'
    {{- end }}
    - {{ .name }}
    {{- range .run }}
    - {{ . | quote }}
    {{- end }}
  env:
    - {name: ORCHARD_RUN_ID, value: unnamed} # `orchard job` names the run
    - {name: ORCHARD_DATASET, value: {{ default $root.Values.dataset .dataset | quote }}}
    - {name: ORCHARD_MODEL, value: {{ $root.Values.model | quote }}}
    - {name: ORCHARD_CHANNEL, value: {{ $root.Values.channel }}}
    - {name: WHY, value: "run $(ORCHARD_RUN_ID)"}
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

{{/* The keys that a verb works with. Usage: include "orchard.keysEnv" (list $ (list "trainer") TRUSTS SIGNS) */}}
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
    secretName: {{ include "orchard.signingSecret" . }}
    defaultMode: 0440
    items: [{key: signing-key.pem, path: signing-key.pem}]
{{- end -}}

{{/* The project's files, from the image or from the Job's own; then what publishes, whose version promote names. */}}
{{- define "orchard.prepare" -}}
cp -r /opt/orchard/project/. . && for file in /project/*; do case $file in */params.yaml) cp "$file" params.yaml;; */schema.yaml) cp "$file" data/schema.yaml;; esac; done
{{- end -}}
{{- define "orchard.publish" -}}
orchard publish --json >published.json || { code=$?; cat published.json; exit $code; }; cat published.json
{{- end -}}
{{- define "orchard.promote" -}}
version=$(python -c 'import json; print(json.load(open("published.json"))["version"])'); exec orchard promote "$version" --why "$WHY"
{{- end -}}

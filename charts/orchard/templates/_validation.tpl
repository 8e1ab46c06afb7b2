{{/* Combinations that a schema cannot check, refused with an explanation. */}}
{{- define "orchard.validate" -}}
{{- include "orchard.requireAllValues" . -}}
{{- include "orchard.requireName" (list "The release name" .Release.Name) -}}
{{- if .Values.fullnameOverride -}}{{- include "orchard.requireName" (list "fullnameOverride" .Values.fullnameOverride) -}}{{- end -}}
{{- if .Values.nameOverride -}}{{- include "orchard.requireName" (list "nameOverride" .Values.nameOverride) -}}{{- end -}}
{{- range $name, $schedule := .Values.airflow.schedules -}}
{{- include "orchard.requireCron" (list (printf "airflow.schedules.%s" $name) $schedule) -}}
{{- end -}}
{{- include "orchard.requireCron" (list "airflow.databaseCleanup.schedule" .Values.airflow.databaseCleanup.schedule) -}}
{{- include "orchard.requireResources" (list "" .Values) -}}
{{- $channels := default (list "stable" "canary" "shadow") .Values.channels -}}
{{- if not (has "stable" $channels) -}}
{{- fail (printf "\n\nchannels (%s) lacks stable, on which the readiness of a model server depends.\nAdd it." (join ", " $channels)) -}}
{{- end -}}
{{- if not (has .Values.channel $channels) -}}
{{- fail (printf "\n\nchannel is %q, and the channels are %s.\nAdd it to the value channels, or correct it." .Values.channel (join ", " $channels)) -}}
{{- end -}}
{{- $store := .Values.objectStore -}}
{{- $named := list -}}
{{- $missing := list -}}
{{- $names := list "ingest" "trainer" "publisher" "sync" -}}
{{- if .Values.airflow.enabled -}}{{- $names = concat $names (list "batch" "housekeeping" "airflow") -}}{{- end -}}
{{- if .Values.serving.capture -}}{{- $names = append $names "capture" -}}{{- end -}}
{{- if .Values.console.enabled -}}{{- $names = append $names "console" -}}{{- end -}}
{{- if .Values.webhooks.secret -}}{{- $names = append $names "notifier" -}}{{- end -}}
{{- range $name := $names -}}
{{- if index $store.existingSecrets $name -}}{{- $named = append $named $name -}}{{- else -}}{{- $missing = append $missing (printf "objectStore.existingSecrets.%s" $name) -}}{{- end -}}
{{- end -}}
{{- if gt (len .Release.Name) 40 -}}
{{- fail (printf "\n\nThe release name %q has %d characters; names of Jobs and pods begin with it, so at most 40 are allowed." .Release.Name (len .Release.Name)) -}}
{{- end -}}
{{- if and $store.enabled $store.endpoint -}}
{{- fail (printf "\n\nobjectStore.enabled runs a store in the cluster, and objectStore.endpoint names another one (%s).\nSet objectStore.enabled=false to use that one, or leave the endpoint empty." $store.endpoint) -}}
{{- end -}}
{{- if and $store.caSecret (or $store.enabled (hasPrefix "http://" $store.endpoint)) -}}
{{- fail (printf "\n\nobjectStore.caSecret (%s) is the authority of a store with TLS, and this store has none.\nLeave it out, or let objectStore.endpoint begin with https:// (and set objectStore.enabled=false)." $store.caSecret) -}}
{{- end -}}
{{- if and $store.enabled $store.cloudIdentity -}}
{{- fail "\n\nobjectStore.cloudIdentity is for a store in the cloud; the one in the cluster (objectStore.enabled) knows only keys.\nSet one of them to false." -}}
{{- end -}}
{{- if and $store.cloudIdentity $named -}}
{{- fail "\n\nobjectStore.cloudIdentity says that pods need no keys, and objectStore.existingSecrets names some.\nLeave one of them out." -}}
{{- end -}}
{{- if and (not $store.enabled) (not $store.cloudIdentity) $missing -}}
{{- fail (printf "\n\nA store outside the cluster needs keys, and these are not named: %s.\nCreate Secrets with a key `credentials` (an AWS credentials file), or set objectStore.cloudIdentity=true where the cloud gives pods their rights." (join ", " $missing)) -}}
{{- end -}}
{{- if and (not $store.enabled) $store.existingSecrets.server -}}
{{- fail "\n\nobjectStore.existingSecrets.server holds the identities of the store in the cluster, and objectStore.enabled is false.\nLeave it out." -}}
{{- end -}}
{{- if and $store.enabled (or $named $store.existingSecrets.server $store.existingSecrets.admin) (or $missing (not $store.existingSecrets.server) (not $store.existingSecrets.admin)) -}}
{{- fail (printf "\n\nobjectStore.existingSecrets names some of the store's Secrets and not others; their keys must fit each other.\nName all of them (server, admin, %s), or none: then they are created." (join ", " $names)) -}}
{{- end -}}
{{- if and (eq .Values.serving.engine "tensorflow-serving") (eq (index .Values.serving.nodeSelector "kubernetes.io/arch" | default "") "arm64") -}}
{{- fail "\n\nThere is no tensorflow/serving for arm64, which serving.nodeSelector chooses.\nSet serving.engine=orchard: it answers the same API there." -}}
{{- end -}}
{{- if and .Values.serving.tokenSecret (ne .Values.serving.engine "orchard") -}}
{{- fail (printf "\n\nserving.tokenSecret requires tokens, which %s does not check.\nSet serving.engine=orchard, or put a proxy before it that checks them." .Values.serving.engine) -}}
{{- end -}}
{{- if and .Values.router.enabled (ne .Values.serving.engine "orchard") -}}
{{- fail (printf "\n\nrouter.enabled sends requests to channels by the header x-orchard-channel, which %s ignores: it would answer with its newest version.\nSet serving.engine=orchard, which answers the same API." .Values.serving.engine) -}}
{{- end -}}
{{- if and .Values.serving.capture (ne .Values.serving.engine "orchard") -}}
{{- fail (printf "\n\nserving.capture stores photos and their predictions, which %s does not.\nSet serving.engine=orchard, which answers the same API, or serving.capture=0." .Values.serving.engine) -}}
{{- end -}}
{{- if and .Values.console.enabled (ne .Values.serving.engine "orchard") -}}
{{- fail (printf "\n\nconsole.enabled serves a page that sends photos as they are, which %s does not take.\nSet serving.engine=orchard, which answers the same API." .Values.serving.engine) -}}
{{- end -}}
{{- if and .Values.router.enabled .Values.router.httpRoute.enabled (not .Values.router.httpRoute.parentRefs) -}}
{{- fail "\n\nrouter.httpRoute.enabled needs router.httpRoute.parentRefs: the Gateway that the route belongs to, as [{name: my-gateway}]." -}}
{{- end -}}
{{- if and .Values.router.httpRoute.enabled (not .Values.router.enabled) -}}
{{- fail "\n\nrouter.httpRoute.enabled points to the router, and router.enabled is false.\nSet both, or neither." -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.serving.tokenSecret (not .Values.serviceMonitor.tokenSecret) -}}
{{- fail "\n\nserving.tokenSecret requires tokens, and the ServiceMonitor has none.\nName a Secret with one of the tokens in its entry `token`: serviceMonitor.tokenSecret." -}}
{{- end -}}
{{- if and .Values.serving.autoscaling.enabled (gt (int .Values.serving.autoscaling.minReplicas) (int .Values.serving.autoscaling.maxReplicas)) -}}
{{- fail (printf "\n\nserving.autoscaling.minReplicas (%d) is more than maxReplicas (%d)." (int .Values.serving.autoscaling.minReplicas) (int .Values.serving.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and .Values.serving.ingress.enabled (not .Values.serving.ingress.host) -}}
{{- fail "\n\nserving.ingress.enabled needs serving.ingress.host: the name by which the model server is reached." -}}
{{- end -}}
{{- if and .Values.airflow.enabled (not .Values.training.enabled) -}}
{{- fail "\n\nairflow.enabled runs training, and training.enabled is false.\nSet both, or neither." -}}
{{- end -}}
{{- $days := int .Values.airflow.databaseCleanup.keepDays -}}
{{- if and (gt $days 0) (lt $days 7) -}}
{{- fail (printf "\n\nairflow.databaseCleanup.keepDays is %d: a run may take two days, and one that still runs must not be deleted.\nSet it to 7 or more; 0 keeps everything." $days) -}}
{{- end -}}
{{- if and .Values.airflow.enabled (not .Values.airflow.database.enabled) (not .Values.airflow.database.existingSecret) -}}
{{- fail "\n\nairflow.database.enabled is false, and airflow.database.existingSecret is empty.\nCreate a Secret with a key `connection` (postgresql+psycopg2://USER:PASSWORD@HOST:5432/NAME) and name it, or run the database here." -}}
{{- end -}}
{{- end -}}

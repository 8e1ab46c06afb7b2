{{/* What a schema cannot check of a single value, and what Kubernetes or Airflow would refuse only after a part of the
     release is installed. Each is refused here, in a sentence. */}}

{{/* `helm upgrade --reuse-values` takes the previous version's values whole: those that this version adds are missing. */}}
{{- define "orchard.requireAllValues" -}}
{{- $root := . -}}
{{- range $path := .Files.Lines "files/values.txt" -}}
{{- if and $path (not (hasPrefix "#" $path)) -}}
{{- $node := $root.Values -}}
{{- range $key := splitList "." $path -}}
{{- if not (and (kindIs "map" $node) (hasKey $node $key)) -}}
{{- fail (printf "\n\nThe value %s is missing, which the chart's version %s needs.\n`helm upgrade --reuse-values` leaves out what a new version adds: use --reset-then-reuse-values.\nIf one of your values files sets it to null: remove that line." $path $root.Chart.Version) -}}
{{- end -}}
{{- $node = get $node $key -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.training "standin" -}}
{{- fail "\n\nThe value training.standin is now training.synthetic.\n`helm upgrade --reuse-values` keeps values that a new version no longer has: use --reset-then-reuse-values, and rename it where you set it." -}}
{{- end -}}
{{- end -}}

{{/* Names of Services, pods and labels begin with these. Usage: include "orchard.requireName" (list "The release name" NAME) */}}
{{- define "orchard.requireName" -}}
{{- $what := index . 0 -}}
{{- $name := index . 1 -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}
{{- fail (printf "\n\n%s is %q, and names of Services begin with it.\nUse lower-case letters, digits and hyphens, beginning with a letter, such as %q." $what $name "fruit-2") -}}
{{- end -}}
{{- end -}}

{{/* Five fields in their ranges. Usage: include "orchard.requireCron" (list "airflow.schedules.retrain" TEXT) */}}
{{- define "orchard.requireCron" -}}
{{- $path := index . 0 -}}
{{- $text := index . 1 -}}
{{- if not (or (not $text) (hasPrefix "@" $text)) -}}
{{- $rules := list (list "minute" 0 59) (list "hour" 0 23) (list "day of the month" 1 31) (list "month" 1 12) (list "day of the week" 0 6) -}}
{{- range $index, $field := splitList " " $text -}}
{{- $rule := index $rules $index -}}
{{- $known := list -}}
{{- if eq $index 3 -}}{{- $known = list "JAN" "FEB" "MAR" "APR" "MAY" "JUN" "JUL" "AUG" "SEP" "OCT" "NOV" "DEC" -}}{{- end -}}
{{- if eq $index 4 -}}{{- $known = list "SUN" "MON" "TUE" "WED" "THU" "FRI" "SAT" -}}{{- end -}}
{{- $numbers := upper $field -}}
{{- range $number, $name := $known -}}
{{- $numbers = replace $name (toString (add $number (index $rule 1))) $numbers -}}
{{- end -}}
{{- range $part := splitList "," $numbers -}}
{{- $refuse := not (regexMatch "^(\\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?$" $part) -}}
{{- $ends := list -}}
{{- range regexFindAll "[0-9]+" (index (splitList "/" $part) 0) -1 -}}{{- $ends = append $ends (atoi .) -}}{{- end -}}
{{- range $ends -}}
{{- if or (lt . (index $rule 1)) (gt . (index $rule 2)) -}}{{- $refuse = true -}}{{- end -}}
{{- end -}}
{{- if and (eq (len $ends) 2) (gt (first $ends) (last $ends)) -}}{{- $refuse = true -}}{{- end -}}
{{- if $refuse -}}
{{- fail (printf "\n\n%s is %q, and its %s (%s) is invalid: numbers from %d to %d, lists (1,3), ranges (1-3), steps (*/2) or *.\nThe fields are minute, hour, day of the month, month, day of the week (0 is Sunday), in UTC." $path $text (index $rule 0) $field (index $rule 1) (index $rule 2)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity such as 500m or 2Gi as a number. Usage: include "orchard.amount" QUANTITY | float64 */}}
{{- define "orchard.amount" -}}
{{- if kindIs "string" . -}}
{{- $factors := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- $suffix := regexFind "[a-zA-Z]+$" . -}}
{{- mulf (trimSuffix $suffix . | float64) (get $factors $suffix | default 1.0) -}}
{{- else -}}
{{- float64 . -}}
{{- end -}}
{{- end -}}

{{/* Requests within limits, wherever there are resources. Usage: include "orchard.requireResources" (list "" .Values) */}}
{{- define "orchard.requireResources" -}}
{{- $path := index . 0 -}}
{{- $node := index . 1 -}}
{{- if and (hasKey $node "requests") (hasKey $node "limits") -}}
{{- range $kind, $request := $node.requests -}}
{{- $limit := get $node.limits $kind -}}
{{- if and $limit (gt (include "orchard.amount" $request | float64) (include "orchard.amount" $limit | float64)) -}}
{{- fail (printf "\n\n%s.requests.%s is %v, more than its limit of %v.\nRaise %s.limits.%s, or request less." $path $kind $request $limit $path $kind) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range $key, $child := $node -}}
{{- if kindIs "map" $child -}}
{{- include "orchard.requireResources" (list (printf "%s.%s" $path $key | trimPrefix ".") $child) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

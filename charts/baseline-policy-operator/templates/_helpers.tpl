{{/* Labels of every object: those of config/default. Helm adds its own when it installs. */}}
{{- define "baseline-policy-operator.labels" -}}
app.kubernetes.io/name: baseline-policy-operator
app.kubernetes.io/part-of: baseline-policy-operator
{{- end }}

{{/* What selects the operator's pods. */}}
{{- define "baseline-policy-operator.selectorLabels" -}}
app.kubernetes.io/name: baseline-policy-operator
app.kubernetes.io/component: operator
{{- end }}

{{/* The image, by digest if there is one. */}}
{{- define "baseline-policy-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The flags of .Values.operator that are given, a YAML list. 0 is given, null is not. */}}
{{- define "baseline-policy-operator.flags" -}}
{{- with .Values.operator }}
{{- if not (kindIs "invalid" .logLevel) }}
- --log-level={{ .logLevel }}
{{- end }}
{{- if not (kindIs "invalid" .logFormat) }}
- --log-format={{ .logFormat }}
{{- end }}
{{- if not (kindIs "invalid" .concurrency) }}
- --concurrency={{ int64 .concurrency }}
{{- end }}
{{- if not (kindIs "invalid" .resyncPeriod) }}
- --resync-period={{ .resyncPeriod }}
{{- end }}
{{- if not (kindIs "invalid" .protectedNamespaces) }}
- --protected-namespaces={{ join "," .protectedNamespaces }}
{{- end }}
{{- if not (kindIs "invalid" .deletionBrakeCount) }}
- --deletion-brake-count={{ int64 .deletionBrakeCount }}
{{- end }}
{{- if not (kindIs "invalid" .deletionBrakePercent) }}
- --deletion-brake-percent={{ int64 .deletionBrakePercent }}
{{- end }}
{{- range .extraArgs }}
- {{ quote . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Namespaces that neither operator nor admission policies touch, the release's own among them: a YAML list. */}}
{{- define "baseline-policy-operator.untouchedNamespaces" -}}
{{- $protected := .Values.operator.protectedNamespaces }}
{{- if kindIs "invalid" $protected }}
{{- $protected = list "kube-system" "kube-public" "kube-node-lease" }}
{{- end }}
{{- append $protected .Release.Namespace | uniq | sortAlpha | toYaml }}
{{- end }}

{{/*
The documents of a file that config/ and the chart share, with the release's namespace in place of that of config/:
(list $ "files/rbac/role.yaml"), to be split at lines with "---".
*/}}
{{- define "baseline-policy-operator.file" -}}
{{- $root := index . 0 }}
{{- $root.Files.Get (index . 1) | replace "baseline-policy-system" $root.Release.Namespace }}
{{- end }}

{{/* A document of YAML, with the labels of every object: (list $ $object). */}}
{{- define "baseline-policy-operator.object" -}}
{{- $object := index . 1 }}
{{- $labels := include "baseline-policy-operator.labels" (index . 0) | fromYaml }}
{{- $_ := set $object.metadata "labels" (merge $labels ($object.metadata.labels | default dict)) }}
---
{{ toYaml $object }}
{{- end }}

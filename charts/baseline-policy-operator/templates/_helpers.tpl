{{/* Labels of every object: those of config/default. Helm adds its own when it installs. */}}
{{- define "baseline-policy-operator.labels" -}}
app.kubernetes.io/name: baseline-policy-operator
app.kubernetes.io/part-of: baseline-policy-operator
{{- end }}

{{/* Labels of what belongs to the operator's pods. */}}
{{- define "baseline-policy-operator.componentLabels" -}}
{{ include "baseline-policy-operator.labels" . }}
app.kubernetes.io/component: operator
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

{{/* The operator as a subject of bindings. */}}
{{- define "baseline-policy-operator.subjects" -}}
- kind: ServiceAccount
  name: baseline-policy-operator
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The name of everything: the release's, which says which chart it is of. */ -}}
{{- define "tidegate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "tidegate.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tidegate.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tidegate.account" -}}
{{- default (include "tidegate.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tidegate.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "tidegate.account" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* The bootstrap file. */ -}}
{{- define "tidegate.config" -}}
{{- $source := dict "name" "kubernetes" "kubernetes" (dict "lease" (dict "namespace" .Release.Namespace "name" (printf "%s-status" (include "tidegate.fullname" .)))) -}}
{{- $own := dict
  "admin" (dict "address" (printf "127.0.0.1:%d" (int .Values.adminPort)))
  "stateDir" "/var/lib/tidegate"
  "drainTimeout" (printf "%ds" (int .Values.drainTimeoutSecs))
  "sources" (list $source) -}}
{{- merge $own (deepCopy .Values.config) | toYaml }}
{{- end }}

{{- define "coursebus.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "coursebus.labels" -}}
app.kubernetes.io/name: coursebus
app.kubernetes.io/instance: {{ .Release.Name }}
{{- with .Values.image.tag | default .Chart.AppVersion }}
app.kubernetes.io/version: {{ . | toString | trunc 63 | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Takes a dict of root and name (of the process). */}}
{{- define "coursebus.selector" -}}
app.kubernetes.io/name: coursebus
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "coursebus.image" -}}
{{- $image := .root.Values.image -}}
{{- if and $image.digest (not .values.tag) -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ .values.tag | default $image.tag | default .root.Chart.AppVersion | required "image.tag must name the version of the image, or image.digest its content" }}
{{- end -}}
{{- end }}

{{- define "coursebus.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001 # the user of the image
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "coursebus.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The variables of a process. Takes a dict of root, name, process (its row) and values. */}}
{{- define "coursebus.env" -}}
{{- $root := .root -}}
{{- $secret := .values.existingSecret | default (include "coursebus.secretName" $root) -}}
- {name: ENVIRONMENT, value: production}
{{- if .process.metrics }}
- {name: METRICS_PORT, value: "9100"}
{{- end }}
{{- range $key, $value := .process.env }}
- name: {{ $key }}
  value: {{ $value | quote }}
{{- end }}
{{- if and (eq .name "web") (not (hasKey $root.Values.settings "API_URL")) }}
- name: API_URL
  value: http://{{ include "coursebus.fullname" $root }}-gateway:8000
{{- end }}
{{- $owned := list -}}
{{- range $process := include "coursebus.processes" $root | fromYaml -}}
  {{- $owned = concat $owned ($process.settings | default list) -}}
{{- end -}}
{{- $own := .process.settings | default list -}}
{{- $fixed := .process.env | default dict -}}
{{- range $key, $value := $root.Values.settings }}
{{- if and (or (has $key $own) (not (has $key $owned))) (not (hasKey $fixed $key)) }}
- name: {{ $key }}
  {{- /* Helm reads numbers as floats, and would write a million as 1e+06. */}}
  value: {{ ternary ($value | int64 | toString) ($value | toString) (kindIs "float64" $value) | quote }}
{{- end }}
{{- end }}
{{- if .process.database }}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ .process.database }}}}
{{- end }}
{{- range .process.secrets }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}}}
{{- end }}
{{- range .process.optional }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- if and (eq .name "worker-notifications") $root.Values.firebase.existingSecret }}
- {name: FIREBASE_CREDENTIALS, value: /etc/coursebus/firebase/service-account.json}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "coursebus.secretName" -}}
{{- if .Values.secrets.external.enabled -}}
{{ .Values.secrets.existingSecret | default (include "coursebus.fullname" .) }}
{{- else -}}
{{ required "secrets.existingSecret must name the Secret with the passwords and URLs: see the README of the chart" .Values.secrets.existingSecret }}
{{- end -}}
{{- end }}

{{/* The largest number of pods of a process. Takes a dict of root and name. */}}
{{- define "coursebus.replicasMax" -}}
{{- $values := index .root.Values.processes .name -}}
{{- $keda := .root.Values.keda -}}
{{- if and (eq .name "gateway") .root.Values.autoscaling.enabled -}}
{{ .root.Values.autoscaling.maxReplicas }}
{{- else if and $keda.enabled (eq .name "bridge") -}}
{{ max $values.replicas $keda.bridge.maxReplicas }}
{{- else if and $keda.enabled (hasPrefix "worker-" .name) -}}
{{ max $values.replicas $keda.workers.maxReplicas }}
{{- else -}}
{{ $values.replicas | default 1 }}
{{- end -}}
{{- end }}

{{/* Whether an autoscaler sets the number of pods. Takes a dict of root and name. */}}
{{- define "coursebus.isScaled" -}}
{{- if eq .name "gateway" -}}
{{- if .root.Values.autoscaling.enabled }}true{{ end -}}
{{- else if or (eq .name "bridge") (hasPrefix "worker-" .name) -}}
{{- if .root.Values.keda.enabled }}true{{ end -}}
{{- end -}}
{{- end }}

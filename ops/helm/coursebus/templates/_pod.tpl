{{/* The pod of a process. Takes a dict of root, name, process (its row), values, and account (its ServiceAccount). */}}
{{- define "coursebus.podSpec" -}}
{{- $root := .root -}}
{{- $drain := and .process.port (ne .name "flower") -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false # variables such as COURSEBUS_GATEWAY_PORT would look like settings
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "coursebus.podSecurityContext" . | nindent 2 }}
# Longer than the process takes to end, with the seconds of preStop
terminationGracePeriodSeconds: {{ add .process.stopSeconds 10 (ternary $root.Values.drainSeconds 0 (not (not $drain))) }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector | default $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations | default $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity | default $root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if ne .name "migrate" }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "coursebus.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "coursebus.image" . }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: {{- toYaml .process.command | nindent 6 }}
    env: {{- include "coursebus.env" . | nindent 6 }}
    securityContext: {{- include "coursebus.securityContext" . | nindent 6 }}
    resources: {{- toYaml (.values.resources | default $root.Values.resources) | nindent 6 }}
    {{- if or .process.port .process.metrics }}
    ports:
      {{- with .process.port }}
      - {name: http, containerPort: {{ . }}}
      {{- end }}
      {{- if .process.metrics }}
      - {name: metrics, containerPort: 9100}
      {{- end }}
    {{- $port := ternary "http" "metrics" (hasKey .process "port") }}
    {{- $alive := dict "httpGet" (dict "path" .process.liveness "port" $port) }}
    {{- $ready := dict "httpGet" (dict "path" .process.readiness "port" $port) }}
    startupProbe: {{- toYaml $alive | nindent 6 }}
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 60
    livenessProbe: {{- toYaml $alive | nindent 6 }}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe: {{- toYaml $ready | nindent 6 }}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 2
    {{- end }}
    {{- if $drain }}
    lifecycle: # the pod leaves the endpoints while it still accepts connections
      preStop: {exec: {command: [sleep, {{ $root.Values.drainSeconds | quote }}]}}
    {{- end }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if and (eq .name "worker-notifications") $root.Values.firebase.existingSecret }}
      - {name: firebase, mountPath: /etc/coursebus/firebase, readOnly: true}
      {{- end }}
      {{- with $root.Values.certificates.existingConfigMap }}
      - {name: certificates, mountPath: /etc/coursebus/certificates, readOnly: true}
      {{- end }}
      {{- with .values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
  {{- if and (eq .name "worker-notifications") $root.Values.firebase.existingSecret }}
  - name: firebase
    secret:
      secretName: {{ $root.Values.firebase.existingSecret }}
      items: [{key: {{ $root.Values.firebase.key }}, path: service-account.json}]
  {{- end }}
  {{- with $root.Values.certificates.existingConfigMap }}
  - name: certificates
    configMap: {name: {{ . }}}
  {{- end }}
  {{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

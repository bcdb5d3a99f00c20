{{/*
The connections that all pods may open to PostgreSQL during an upgrade, when each Deployment has one pod more: each process
has a pool for each service whose tables it uses (core/db.py): a worker one of two connections for each of its threads, the
bridge six of 8 connections and one connection of the relay. The migration has one.
*/}}
{{- define "coursebus.connectionsMax" -}}
{{- $sum := 1 -}}
{{- range $name, $process := include "coursebus.deployments" . | fromYaml -}}
  {{- $pods := add 1 (include "coursebus.replicasMax" (dict "root" $ "name" $name)) -}}
  {{- if hasPrefix "worker-" $name -}}
    {{- $sum = add $sum (mul $pods 2 ($.Values.settings.WORKER_THREADS | default 4 | int)) -}}
  {{- else if eq $name "bridge" -}}
    {{- $sum = add $sum (mul $pods 49) -}}
  {{- end -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* Refuse values with which the installation cannot work. */}}
{{- define "coursebus.check" -}}
{{- if and .Values.keda.enabled (not .Values.keda.prometheusAddress) -}}
{{- fail "keda.prometheusAddress must be set with keda.enabled" -}}
{{- end -}}
{{- $needed := include "coursebus.connectionsMax" . | int -}}
{{- $available := sub .Values.postgresql.maxConnections .Values.postgresql.reservedConnections | int -}}
{{- if gt $needed $available -}}
{{- fail (printf "the pods may open %d connections to PostgreSQL, but postgresql.maxConnections leaves %d: raise max_connections of the server, or lower the replicas of workers and bridge" $needed $available) -}}
{{- end -}}
{{- $partitions := .Values.settings.KAFKA_PARTITIONS | default 12 | int -}}
{{- if gt (include "coursebus.replicasMax" (dict "root" . "name" "bridge") | int) $partitions -}}
{{- fail (printf "the bridge may have as many pods as a topic has partitions (settings.KAFKA_PARTITIONS, %d): more would be idle" $partitions) -}}
{{- end -}}
{{- range $name := list "PUBLIC_URL" "STREAM_URL" "KAFKA_BOOTSTRAP_SERVERS" -}}
  {{- $_ := required (printf "settings.%s must be set" $name) (get $.Values.settings $name) -}}
{{- end -}}
{{- if not (or .Values.settings.AUTH0_DOMAIN .Values.settings.OIDC_ISSUER) -}}
{{- fail "settings.AUTH0_DOMAIN or settings.OIDC_ISSUER must be set" -}}
{{- end -}}
{{- if and .Values.processes.web.enabled (not .Values.settings.WEB_URL) -}}
{{- fail "settings.WEB_URL must be set, or processes.web.enabled be false" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.processes.gateway.replicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "processes.gateway.replicas is the least number of pods and must not exceed autoscaling.maxReplicas" -}}
{{- end -}}
{{- end }}

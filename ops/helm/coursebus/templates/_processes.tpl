{{/*
The processes of the product. ops/compose.yml is the same list for one machine; tests/unit/ops/test_helm.py compares them.

settings     names of values.settings that only the processes with the name in their row get; settings in no row go to all
secrets      keys of the secret that must exist
optional     keys of the secret that may be missing
database     key of the secret with the URL of the process's own login, given to it as DATABASE_URL
metrics      whether the process serves Prometheus metrics at port 9100
liveness     path of the liveness probe, at ``port`` or else at the port of the metrics
stopSeconds  how long the process needs to end after SIGTERM
reaches      servers that the network policy lets it connect to, by the names of values.networkPolicy.servers
*/}}
{{- define "coursebus.processes" -}}
gateway:
  command: [gunicorn, "wsgi:app", -c, ops/gunicorn.py, --bind, "0.0.0.0:8000"]
  port: 8000
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 25
  settings: [PUBLIC_URL, STREAM_URL, WEB_URL, CORS_ORIGINS, CERTIFICATE_ISSUER, AUTH0_DOMAIN, AUTH0_AUDIENCE, OIDC_ISSUER, OIDC_AUDIENCE, OIDC_JWKS_URL, OIDC_EMAIL_CLAIM, OIDC_EMAIL_VERIFIED_CLAIM, OIDC_NAME_CLAIM, OIDC_ROLES_CLAIM, OIDC_PERMISSIONS_CLAIM, OIDC_MACHINE_CLAIM, CLAIMS_NAMESPACE, TRUSTED_PROXIES, TRUSTED_PROXY_NETWORKS, RATE_LIMITS]
  secrets: [REDIS_URL, CACHE_URL, SECRET_KEY]
  optional: [AUTH0_WEBHOOK_TOKEN, STRIPE_WEBHOOK_SECRET, EMAIL_WEBHOOK_SECRET, BADGE_SIGNING_KEY]
  reaches: [queue, cache, internet]
stream:
  command: [python, -m, stream]
  port: 8001
  liveness: /livez
  readiness: /livez
  metrics: true
  stopSeconds: 10
  env: {STREAM_BIND: "0.0.0.0:8001"}
  settings: [PUBLIC_URL, STREAM_URL, CORS_ORIGINS, AUTH0_DOMAIN, AUTH0_AUDIENCE, OIDC_ISSUER, OIDC_AUDIENCE, OIDC_JWKS_URL, OIDC_EMAIL_CLAIM, OIDC_EMAIL_VERIFIED_CLAIM, OIDC_NAME_CLAIM, OIDC_ROLES_CLAIM, OIDC_PERMISSIONS_CLAIM, OIDC_MACHINE_CLAIM, CLAIMS_NAMESPACE, TRUSTED_PROXIES, TRUSTED_PROXY_NETWORKS, RATE_LIMITS]
  secrets: [REDIS_URL, CACHE_URL, MONGO_URL]
  reaches: [queue, cache, mongodb, internet]
web:
  command: [gunicorn, "web:create_app()", -c, ops/gunicorn_web.py, --bind, "0.0.0.0:8002"]
  port: 8002
  liveness: /livez
  readiness: /livez
  stopSeconds: 15
  settings: [WEB_URL, API_URL, STREAM_URL, STORAGE_PUBLIC_URL, AUTH0_DOMAIN, AUTH0_AUDIENCE, OIDC_ISSUER, OIDC_AUDIENCE, WEB_CLIENT_ID, TRUSTED_PROXIES]
  secrets: [CACHE_URL, WEB_CLIENT_SECRET]
  reaches: [cache, gateway, internet]
worker-courses:
  command: [python, -m, workers]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  env: {SERVICE: courses}
  database: COURSES_DATABASE_URL
  settings: [PUBLIC_URL, STORAGE_URL, STORAGE_PUBLIC_URL, STORAGE_REGION, STORAGE_BUCKET]
  secrets: [REDIS_URL, CACHE_URL]
  optional: [STORAGE_ACCESS_KEY, STORAGE_SECRET_KEY]
  reaches: [postgresql, queue, cache, internet]
worker-integrations:
  command: [python, -m, workers]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  env: {SERVICE: integrations}
  database: INTEGRATIONS_DATABASE_URL
  settings: [WEBHOOK_ALLOW_LOOPBACK]
  secrets: [REDIS_URL, CACHE_URL]
  reaches: [postgresql, queue, cache, internet]
worker-notifications:
  command: [python, -m, workers]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  env: {SERVICE: notifications}
  database: NOTIFICATIONS_DATABASE_URL
  settings: [PUBLIC_URL, WEB_URL, MAIL_FROM, VAPID_SUBJECT]
  secrets: [REDIS_URL, CACHE_URL, MONGO_URL, SMTP_URL, SECRET_KEY]
  optional: [EMAIL_WEBHOOK_SECRET, VAPID_PRIVATE_KEY]
  reaches: [postgresql, queue, cache, mongodb, smtp, internet]
worker-payments:
  command: [python, -m, workers]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  env: {SERVICE: payments}
  database: PAYMENTS_DATABASE_URL
  settings: [PUBLIC_URL, WEB_URL, RETURN_URL_ORIGINS, STRIPE_API_URL, YOOKASSA_SHOP_ID, YOOKASSA_API_URL]
  secrets: [REDIS_URL, CACHE_URL]
  optional: [STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, YOOKASSA_SECRET_KEY]
  reaches: [postgresql, queue, cache, internet]
worker-progress:
  command: [python, -m, workers]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  env: {SERVICE: progress}
  database: PROGRESS_DATABASE_URL
  secrets: [REDIS_URL, CACHE_URL]
  reaches: [postgresql, queue, cache]
worker-users:
  command: [python, -m, workers]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  env: {SERVICE: users}
  database: USERS_DATABASE_URL
  settings: [AUTH0_DOMAIN, AUTH0_CLIENT_ID, OIDC_ISSUER]
  secrets: [REDIS_URL, CACHE_URL]
  optional: [AUTH0_CLIENT_SECRET, AUTH0_WEBHOOK_TOKEN]
  reaches: [postgresql, queue, cache, internet]
bridge:
  command: [python, -m, bridge]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 20
  database: BRIDGE_DATABASE_URL
  settings: [KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_USERNAME, KAFKA_CA_FILE, KAFKA_REPLICATION, KAFKA_PARTITIONS, KAFKA_TOPIC_PREFIX, KAFKA_SESSION_TIMEOUT_MS, KAFKA_FETCH_WAIT_MS]
  secrets: [REDIS_URL]
  optional: [KAFKA_PASSWORD, KAFKA_OPTIONS, DIRECT_DATABASE_URL]
  reaches: [postgresql, queue, kafka]
beat:
  command: [python, -m, beat]
  liveness: /livez
  readiness: /readyz
  metrics: true
  stopSeconds: 10
  env: {SERVICE: beat}
  secrets: [REDIS_URL]
  reaches: [queue]
flower:
  command: [celery, --quiet, -A, celery_app, flower, --conf=ops/flower.py, --address=0.0.0.0, --port=5555]
  port: 5555
  liveness: /healthcheck
  readiness: /healthcheck
  stopSeconds: 10
  env: {SERVICE: flower}
  secrets: [REDIS_URL, FLOWER_BASIC_AUTH]
  reaches: [queue]
migrate:
  command: [python, -m, migrations, upgrade]
  stopSeconds: 30
  env: {DATABASE_POOLING: session} # OWNER_DATABASE_URL is that of the server, not of a pooler
  database: OWNER_DATABASE_URL
  optional: [COURSES_DATABASE_PASSWORD, INTEGRATIONS_DATABASE_PASSWORD, NOTIFICATIONS_DATABASE_PASSWORD, PAYMENTS_DATABASE_PASSWORD, PROGRESS_DATABASE_PASSWORD, USERS_DATABASE_PASSWORD, BRIDGE_DATABASE_PASSWORD]
  reaches: [postgresql]
{{- end }}

{{/* The Deployments that the values ask for: "coursebus.processes" without the migration and what is switched off. */}}
{{- define "coursebus.deployments" -}}
{{- $processes := include "coursebus.processes" . | fromYaml -}}
{{- $wanted := dict -}}
{{- range $name, $process := $processes -}}
  {{- $values := index $.Values.processes $name | default dict -}}
  {{- if and (ne $name "migrate") (dig "enabled" true $values) -}}
    {{- $_ := set $wanted $name $process -}}
  {{- end -}}
{{- end -}}
{{- $wanted | toYaml -}}
{{- end }}

#!/bin/sh
# Creates the lifecycle policy, the index templates and Kibana's saved objects. Safe to repeat.
set -eu
cd "$(dirname "$0")"
elasticsearch=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
kibana=${KIBANA_URL:-http://kibana:5601}

put() {
  curl --fail-with-body --silent --show-error --retry 30 --retry-all-errors --retry-delay 2 \
    -X PUT "$elasticsearch/$1" -H 'Content-Type: application/json' --data-binary "@$2"
  echo
}

put _ilm/policy/coursebus-logs lifecycle.json
put _index_template/coursebus-logs template.json
put _index_template/coursebus-logs-deadletter template-deadletter.json
curl --fail-with-body --silent --show-error --retry 60 --retry-all-errors --retry-delay 2 \
  -X POST "$kibana/api/saved_objects/_import?overwrite=true" -H 'kbn-xsrf: coursebus' --form file=@kibana.ndjson
echo

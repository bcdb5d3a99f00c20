#!/bin/sh
# Creates the logins of Kibana and Filebeat, the lifecycle policy, the index templates and Kibana's saved objects. Safe
# to repeat.
set -eu
cd "$(dirname "$0")"
elasticsearch=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
kibana=${KIBANA_URL:-http://kibana:5601}

# curl reads the password from a file, because a command line is visible to every process.
netrc=$(mktemp)
trap 'rm -f "$netrc"' EXIT
for host in "$elasticsearch" "$kibana"; do
  host=${host#*://}
  echo "machine ${host%%:*} login elastic password $ELASTIC_PASSWORD"
done >"$netrc"

send() { # METHOD PATH, with the body in standard input
  curl --fail-with-body --silent --show-error --retry 30 --retry-all-errors --retry-delay 2 --netrc-file "$netrc" \
    -X "$1" "$elasticsearch/$2" -H 'Content-Type: application/json' --data-binary @-
  echo
}

put() {
  send PUT "$1" <"$2"
}

send POST _security/user/kibana_system/_password <<END
{"password": "$KIBANA_PASSWORD"}
END
# Filebeat may add log lines and read nothing.
send PUT _security/role/coursebus-logs-writer <<END
{"cluster": ["monitor"], "indices": [{"names": ["logs-coursebus*"], "privileges": ["create_doc", "auto_configure"]}]}
END
send PUT _security/user/filebeat <<END
{"password": "$FILEBEAT_PASSWORD", "roles": ["coursebus-logs-writer"]}
END
put _ilm/policy/coursebus-logs lifecycle.json
put _index_template/coursebus-logs template.json
put _index_template/coursebus-logs-deadletter template-deadletter.json
curl --fail-with-body --silent --show-error --retry 60 --retry-all-errors --retry-delay 2 --netrc-file "$netrc" \
  -X POST "$kibana/api/saved_objects/_import?overwrite=true" -H 'kbn-xsrf: coursebus' --form file=@kibana.ndjson
echo

# Like docker-library/postgres: creates the database at the first start, then runs the command as the user postgres.
set -eu
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  as_postgres mkdir -p "$PGDATA"
  as_postgres sh -c 'printenv POSTGRES_PASSWORD >"$PGDATA/../password"'
  as_postgres initdb --username "$POSTGRES_USER" --pwfile "$PGDATA/../password" --auth-local trust \
    --auth-host scram-sha-256 --encoding UTF8 --no-sync >/dev/null
  rm "$PGDATA/../password"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  as_postgres pg_ctl -w -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start >/dev/null
  as_postgres createdb --host /tmp --username "$POSTGRES_USER" "${POSTGRES_DB:-$POSTGRES_USER}"
  as_postgres pg_ctl -w -m fast stop >/dev/null
fi
exec setpriv --reuid postgres --regid postgres --clear-groups "$@" -c "listen_addresses=*" -c unix_socket_directories=/tmp

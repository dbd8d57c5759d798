#!/bin/sh
# First start of a cluster in a container: roles, databases, rights, passwords. Mount this folder as /banyan and this file into
# /docker-entrypoint-initdb.d/; set BANYAN_CLUSTER to legacy or services, and BANYAN_PASSWORD_<ROLE> for each role.
set -eu

case "${BANYAN_CLUSTER:-}" in
    legacy) databases="legacy"; roles="legacy_owner legacy_app banyan_cdc banyan_ctl" ;;
    services)
        databases="pricing devices notifications banyan"
        roles="pricing_owner pricing_app devices_owner devices_app notifications_owner notifications_app banyan_cdc banyan_ctl" ;;
    *) echo "BANYAN_CLUSTER must be legacy or services" >&2; exit 2 ;;
esac
folder="${BANYAN_POSTGRES_FILES:-/banyan}"

run() { psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet -U "${POSTGRES_USER:-postgres}" "$@"; }

run -d postgres -f "$folder/$BANYAN_CLUSTER.sql"
for database in $databases; do
    run -d "$database" -f "$folder/database.sql"
done
for role in $roles; do
    variable="BANYAN_PASSWORD_$(printf '%s' "$role" | tr '[:lower:]' '[:upper:]')"
    eval "password=\${$variable:-}"
    if [ -z "$password" ]; then
        echo "$variable is not set: every role needs a password" >&2
        exit 2
    fi
    # psql reads it from the environment: it is in no process list and in no log.
    ROLE="$role" PASSWORD="$password" run -d postgres <<'SQL'
\getenv role ROLE
\getenv password PASSWORD
SET log_statement = 'none';
ALTER ROLE :"role" PASSWORD :'password';
SQL
done

#!/bin/sh
# Runs once, when a cluster is initialised, after deploy/postgres/*.sql: gives each role the password that its variable
# BANYAN_PASSWORD_<ROLE> holds. The password goes to psql as a variable of its own: never in SQL text, never in arguments.
set -eu

env | sed -n 's/^BANYAN_PASSWORD_\([A-Z_]*\)=.*/\1/p' | while read -r name; do
    role=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
    ROLE="$role" PASSWORD="$(printenv "BANYAN_PASSWORD_$name")" \
        psql -v ON_ERROR_STOP=1 -X -q --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv role ROLE
\getenv password PASSWORD
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
ALTER ROLE :"role" PASSWORD :'password';
SQL
done

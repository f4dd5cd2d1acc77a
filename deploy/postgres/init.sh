#!/bin/sh
# Run once by the postgres image, when the database is new: a login and a database for each service.
exec psql --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname postgres --file /secrets/init.sql

-- Reads the versions of the schema that were applied.
select version from _sqlx_migrations where success order by version

-- Locked by id, as in runs/delete_belongings.sql, so that the two cannot deadlock.
WITH old AS MATERIALIZED (
    SELECT artifacts.id
    FROM artifacts
    JOIN UNNEST($1::text[], $2::text[], $3::bigint[]) AS up_to (namespace, key, version)
        ON artifacts.namespace = up_to.namespace
        AND artifacts.key = up_to.key
        AND artifacts.version <= up_to.version
    ORDER BY artifacts.id
    FOR UPDATE OF artifacts
)
DELETE FROM artifacts
USING old
WHERE artifacts.id = old.id

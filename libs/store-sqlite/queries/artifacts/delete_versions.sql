DELETE FROM artifacts
WHERE id IN (
    SELECT artifacts.id
    FROM json_each(?1) AS up_to
    JOIN artifacts
        ON artifacts.namespace = up_to.value ->> 0
        AND artifacts.key = up_to.value ->> 1
        AND artifacts.version <= up_to.value ->> 2
)

SELECT count(*)
FROM (
    SELECT
    FROM automations
    WHERE namespace = $1
    LIMIT $2
) AS counted

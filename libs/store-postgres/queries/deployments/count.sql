SELECT count(*)
FROM (
    SELECT
    FROM deployments
    WHERE namespace = $1
    LIMIT $2
) AS counted

SELECT count(*)
FROM (
    SELECT
    FROM variables
    WHERE namespace = $1
    LIMIT $2
) AS counted

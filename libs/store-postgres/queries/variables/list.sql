FROM variables
WHERE variables.namespace = $1
    AND STARTS_WITH(variables.name, $2)
    AND variables.name >= $2
    AND ($3::text IS NULL OR variables.tags @> ARRAY[$3])
    AND ($4::text IS NULL OR variables.name > $4)
ORDER BY variables.name
LIMIT $5

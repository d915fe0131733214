FROM variables
WHERE variables.namespace = $1
    AND variables.name = ANY($2)
ORDER BY variables.name

FROM variables
WHERE variables.namespace = ?1
    AND variables.name IN (SELECT value FROM json_each(?2))
ORDER BY variables.name

FROM variables
WHERE variables.namespace = ?1
    AND variables.name >= ?2
    AND substr(variables.name, 1, length(?2)) = ?2
    AND (?3 IS NULL OR EXISTS (SELECT 1 FROM json_each(variables.tags) WHERE value = ?3))
    AND (?4 IS NULL OR variables.name > ?4)
ORDER BY variables.name
LIMIT ?5

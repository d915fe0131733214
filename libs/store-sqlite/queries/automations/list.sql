FROM automations
WHERE automations.namespace = ?1
    AND automations.name > ?2
ORDER BY automations.name
LIMIT ?3

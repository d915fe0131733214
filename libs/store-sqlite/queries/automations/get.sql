FROM automations
WHERE automations.namespace = ?1
    AND automations.name = ?2

FROM schedules
WHERE schedules.namespace = $1
    AND (schedules.deployment, schedules.name) > ($2, $3)
ORDER BY schedules.deployment, schedules.name
LIMIT $4

UPDATE automations
SET description = $3,
    states = $4,
    state_names = $5,
    filter = $6,
    each_attempt = $7,
    action = $8,
    is_paused = $9,
    revision = $10,
    updated_at = $11
WHERE namespace = $1
    AND name = $2

UPDATE variables
SET value = $3,
    tags = $4,
    description = $5,
    revision = $6,
    updated_at = $7
WHERE namespace = $1
    AND name = $2

DELETE FROM artifacts
WHERE id = $2
    AND namespace = $1

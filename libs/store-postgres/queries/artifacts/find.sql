FROM artifacts
WHERE artifacts.id = ANY($1)

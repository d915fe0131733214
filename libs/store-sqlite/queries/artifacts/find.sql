FROM artifacts
WHERE artifacts.id IN (SELECT unhex(value) FROM json_each(?1))

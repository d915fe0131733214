FROM artifacts
WHERE artifacts.id = $2
    AND artifacts.namespace = $1
FOR UPDATE

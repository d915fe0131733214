FROM variables
WHERE variables.namespace = $1
    AND variables.name = $2
FOR UPDATE

DELETE FROM variables
WHERE namespace = $1
    AND name = $2

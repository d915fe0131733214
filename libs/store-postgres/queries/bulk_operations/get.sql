WHERE id = $1
    AND namespace = $2

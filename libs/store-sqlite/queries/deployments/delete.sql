DELETE FROM deployments
WHERE namespace = ?1
    AND name = ?2

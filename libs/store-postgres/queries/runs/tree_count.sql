SELECT count(*)
FROM tree
WHERE tree.state = ANY($4)
    AND tree.created_at <= $5

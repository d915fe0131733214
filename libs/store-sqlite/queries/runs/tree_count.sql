SELECT count(*)
FROM tree
WHERE tree.state IN (SELECT value FROM json_each(?4))
    AND tree.created_at <= ?5

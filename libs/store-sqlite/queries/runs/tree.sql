SELECT tree.id
FROM tree
WHERE tree.state IN (SELECT value FROM json_each(?4))
    AND tree.created_at <= ?5
    AND tree.id < ?6
ORDER BY tree.id DESC
LIMIT ?7

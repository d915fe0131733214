SELECT tree.depth, tree.id
FROM tree
WHERE tree.state = ANY($4)
    AND tree.created_at <= $5
    AND (tree.depth, tree.id) < ($6, $7)
ORDER BY tree.depth DESC, tree.id DESC
LIMIT $8

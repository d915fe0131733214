FROM automation_firings AS firings
WHERE NOT firings.is_filtered
ORDER BY firings.due_at, firings.run_id, firings.seq
LIMIT $1

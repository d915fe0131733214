FROM automation_firings AS firings
WHERE firings.namespace = $1
    AND firings.automation = $2
    AND (firings.run_id, firings.seq) > ($3, $4)
ORDER BY firings.run_id, firings.seq
LIMIT $5

DELETE FROM automation_firings AS firings
USING (
    SELECT run_id, seq
    FROM automation_firings
    WHERE namespace = $1
        AND automation = $2
    LIMIT $3
) AS cleared
WHERE firings.namespace = $1
    AND firings.automation = $2
    AND firings.run_id = cleared.run_id
    AND firings.seq = cleared.seq

FROM runs
WHERE runs.ended_at IS NULL
    -- Not a join: its plan may read all open runs of all sessions, while this finds those of the few that are lost.
    AND runs.session_id = ANY (ARRAY(SELECT id FROM sessions WHERE expires_at <= $1))
ORDER BY runs.session_id, runs.id
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED

FROM sessions
JOIN runs ON runs.session_id = sessions.id AND runs.ended_at IS NULL
WHERE sessions.expires_at <= $1
ORDER BY runs.id
LIMIT $2
FOR NO KEY UPDATE OF runs SKIP LOCKED

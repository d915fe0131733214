WITH ended AS MATERIALIZED (
    SELECT id
    FROM sessions
    WHERE expires_at < $1
        AND NOT EXISTS (SELECT FROM runs WHERE runs.session_id = sessions.id AND runs.ended_at IS NULL)
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM sessions
USING ended
WHERE sessions.id = ended.id

-- The turns are tickets of the keys: those with the smallest are picked, in the order of an index, and of each key as many
-- are served as it had tickets picked, those that are due first. Who has been picked and is not served gets the ticket of
-- who is served in its place. Tickets may have gaps, since some leave the line: the next of a key moves up.
WITH taken AS MATERIALIZED (
    SELECT coalesce(sum(n_slots), 0) AS n
    FROM concurrency_slots
    WHERE namespace = $1
        AND limit_name = $2
        AND (expires_at IS NULL OR expires_at > $4)
), free AS MATERIALIZED (
    SELECT LEAST($6 - taken.n, $7) AS n
    FROM taken
), room AS MATERIALIZED (
    SELECT CASE
        WHEN free.n <= 0 THEN 0
        WHEN free.n >= 1000000 THEN $10
        ELSE GREATEST(0, LEAST($10, free.n + $8 + (
            SELECT count(*)
            FROM (
                SELECT 1
                FROM concurrency_waits
                WHERE namespace = $1
                    AND limit_name = $2
                    AND handed_at > 0
                    AND reserved_until <> 0
                    AND reserved_until > $11
                    AND reserved_until <= $4
                UNION ALL
                SELECT 1
                FROM concurrency_waits
                WHERE namespace = $1
                    AND limit_name = $2
                    AND handed_at > 0
                    AND reserved_until <> 0
                    AND reserved_until < -$11
                    AND reserved_until >= -$4
                LIMIT $9
            ) AS not_in_time
        ) - (
            SELECT coalesce(sum(n_slots), 0)
            FROM concurrency_waits
            WHERE namespace = $1
                AND limit_name = $2
                AND handed_at > 0
                AND reserved_until <> 0
                AND reserved_until > $4
        )))
    END AS n
    FROM free
), picked AS MATERIALIZED (
    SELECT run_id, priority, fairness_key, turn
    FROM concurrency_waits
    WHERE namespace = $1
        AND limit_name = $2
        AND handed_at = 0
        AND (expires_at IS NULL OR expires_at > $4)
    ORDER BY priority DESC, turn, due_at, run_id
    LIMIT (SELECT n FROM room)
    FOR UPDATE SKIP LOCKED
), served AS MATERIALIZED (
    SELECT priority, fairness_key, count(*) AS n, max(turn) AS turn
    FROM picked
    GROUP BY priority, fairness_key
), fresh AS MATERIALIZED (
    SELECT first.run_id, first.turn, served.priority, served.fairness_key, served.turn AS served_turn
    FROM served
    CROSS JOIN LATERAL (
        SELECT waits.run_id, waits.turn
        FROM concurrency_waits AS waits
        WHERE waits.namespace = $1
            AND waits.limit_name = $2
            AND waits.priority = served.priority
            AND waits.fairness_key = served.fairness_key
            AND waits.handed_at = 0
            AND (waits.expires_at IS NULL OR waits.expires_at > $4)
        ORDER BY waits.due_at, waits.run_id
        LIMIT served.n
        FOR UPDATE SKIP LOCKED
    ) AS first
), put_off AS MATERIALIZED (
    SELECT
        picked.run_id,
        picked.priority,
        picked.fairness_key,
        row_number() OVER (PARTITION BY picked.priority, picked.fairness_key ORDER BY picked.turn) AS idx
    FROM picked
    WHERE picked.run_id NOT IN (SELECT fresh.run_id FROM fresh)
), given AS MATERIALIZED (
    SELECT
        fresh.turn,
        fresh.priority,
        fresh.fairness_key,
        row_number() OVER (PARTITION BY fresh.priority, fresh.fairness_key ORDER BY fresh.turn) AS idx
    FROM fresh
    WHERE fresh.run_id NOT IN (SELECT picked.run_id FROM picked)
), moved_up AS MATERIALIZED (
    SELECT next.run_id, served.turn + 2 AS turn
    FROM served
    CROSS JOIN LATERAL (
        SELECT waits.run_id, waits.turn
        FROM concurrency_waits AS waits
        WHERE waits.namespace = $1
            AND waits.limit_name = $2
            AND waits.priority = served.priority
            AND waits.fairness_key = served.fairness_key
            AND waits.handed_at = 0
            AND waits.turn > served.turn
        ORDER BY waits.turn
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS next
    WHERE next.turn > served.turn + 2
        AND NOT EXISTS (
            SELECT 1
            FROM put_off
            WHERE put_off.priority = served.priority
                AND put_off.fairness_key = served.fairness_key
        )
), stale AS MATERIALIZED (
    SELECT run_id
    FROM concurrency_waits
    WHERE namespace = $1
        AND limit_name = $2
        AND handed_at > 0
        AND handed_at < $3
        AND (expires_at IS NULL OR expires_at > $4)
    ORDER BY handed_at, priority DESC, due_at, run_id
    LIMIT (SELECT n FROM room) - (SELECT count(*) FROM fresh)
    FOR UPDATE SKIP LOCKED
), changes AS MATERIALIZED (
    SELECT run_id, $4::bigint AS handed_at, $5::bigint AS reserved_until, LEAST(turn, served_turn) AS turn
    FROM fresh
    UNION ALL
    SELECT run_id, $4, 0, NULL
    FROM stale
    UNION ALL
    SELECT put_off.run_id, 0, 0, given.turn
    FROM put_off
    JOIN given USING (priority, fairness_key, idx)
    UNION ALL
    SELECT run_id, 0, 0, turn
    FROM moved_up
)
UPDATE concurrency_waits AS waits
SET handed_at = changes.handed_at,
    reserved_until = changes.reserved_until,
    turn = COALESCE(changes.turn, waits.turn)
FROM changes
WHERE waits.run_id = changes.run_id
RETURNING waits.run_id, waits.handed_at > 0 AS is_handed_out

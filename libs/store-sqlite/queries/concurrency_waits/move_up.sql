-- The next of each of these keys from a turn on gets that turn: tickets have gaps where some have left the line.
UPDATE concurrency_waits AS waits
SET turn = next.turn
FROM (
    SELECT
        (
            SELECT one.run_id
            FROM concurrency_waits AS one
            WHERE one.namespace = gone.value ->> 0
                AND one.limit_name = gone.value ->> 1
                AND one.priority = gone.value ->> 2
                AND one.fairness_key = gone.value ->> 3
                AND one.handed_at = 0
                AND one.turn >= gone.value ->> 4
            ORDER BY one.turn
            LIMIT 1
        ) AS run_id,
        gone.value ->> 4 AS turn
    FROM json_each(?1) AS gone
) AS next
WHERE waits.run_id = next.run_id
    AND waits.turn > next.turn

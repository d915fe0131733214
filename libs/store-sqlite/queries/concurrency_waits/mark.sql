UPDATE concurrency_waits AS waits
SET handed_at = one.handed_at,
    reserved_until = one.reserved_until,
    turn = coalesce(one.turn, waits.turn)
FROM (
    SELECT
        unhex(value ->> 0) AS run_id,
        value ->> 1 AS handed_at,
        value ->> 2 AS reserved_until,
        value ->> 3 AS turn
    FROM json_each(?1)
) AS one
WHERE waits.run_id = one.run_id

-- Unless it has begun to wait anew since.
UPDATE concurrency_waits
SET reserved_until = 0
WHERE namespace = ?1
    AND limit_name = ?2
    AND run_id IN (SELECT unhex(value) FROM json_each(?3))
    AND handed_at = ?4

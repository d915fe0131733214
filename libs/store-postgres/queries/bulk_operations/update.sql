-- Of a row that this transaction has locked.
UPDATE bulk_operations
SET state = $2,
    ended_at = $3,
    cursor = $4,
    lease_until = $5,
    n_done = $6,
    skipped = $7::jsonb
WHERE id = $1

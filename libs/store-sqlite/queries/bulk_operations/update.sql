-- Of a row that this transaction has locked.
UPDATE bulk_operations
SET state = ?2,
    ended_at = ?3,
    cursor_depth = ?4,
    cursor = ?5,
    lease_until = ?6,
    n_done = ?7,
    skipped = ?8
WHERE id = ?1

-- The runs of hold_slots.sql, after it.
UPDATE runs
SET queue_slot = 1
WHERE namespace = ?1
    AND queue = ?2
    AND holder IS NOT NULL
    AND queue_slot = 0

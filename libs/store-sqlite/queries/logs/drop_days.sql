-- From the oldest on, in steps, so that other writers get their turn. Days grow with positions, so this needs no
-- index of days.
DELETE FROM logs
WHERE position IN (SELECT position FROM logs ORDER BY position LIMIT ?2) AND stored_day < ?1

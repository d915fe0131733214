-- One hands out for a limit at a time, so that what is on its way is known to the next one: that reads by a statement of its
-- own, which begins later. Nobody waits for another: who finds one at it looks again. What follows in this transaction is to
-- read by the order of indexes: a planner that knows nothing of the table yet, or knew it empty, takes sorting a long line for
-- as cheap.
SELECT
    pg_try_advisory_xact_lock(hashtextextended($1 || '/' || $2, 1017)) AS is_locked,
    set_config('enable_sort', 'off', TRUE)

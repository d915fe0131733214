-- One hands out for a limit at a time, so that what is on its way is known to the next one: that reads by a statement of its
-- own, which begins later. Two limits with one hash wait for each other, which is all.
SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 1017))

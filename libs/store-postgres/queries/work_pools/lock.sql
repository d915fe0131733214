-- Before it is looked who names it: who is about to keeps it until that can be seen.
SELECT 1
FROM work_pools
WHERE namespace = $1
    AND name = $2
FOR UPDATE

SELECT count(*)
FROM (
    SELECT 1
    FROM runs INDEXED BY runs_held
    WHERE queue IS NOT NULL
        AND holder IS NOT NULL
        AND namespace = ?1
        AND work_pool = ?2
    LIMIT ?3
)

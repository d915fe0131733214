DELETE FROM automation_firings
WHERE rowid IN (
    SELECT rowid
    FROM automation_firings
    WHERE given_up_at < ?1
    ORDER BY given_up_at
    LIMIT ?2
)

DELETE FROM automation_firings
WHERE rowid IN (
    SELECT rowid
    FROM automation_firings
    WHERE namespace = ?1
        AND automation = ?2
    LIMIT ?3
)

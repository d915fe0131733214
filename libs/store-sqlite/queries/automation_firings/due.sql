FROM automations
CROSS JOIN automation_firings AS firings
WHERE NOT automations.is_paused
    AND (automations.namespace, automations.name) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4))
    AND firings.rowid IN (
        SELECT firsts.rowid
        FROM automation_firings AS firsts
        WHERE firsts.namespace = automations.namespace
            AND firsts.automation = automations.name
            AND firsts.given_up_at IS NULL
            AND firsts.is_filtered
            AND firsts.due_at <= ?1
        ORDER BY firsts.due_at, firsts.run_id, firsts.seq
        LIMIT ?3
    )
ORDER BY firings.due_at, firings.run_id, firings.seq
LIMIT ?2

UPDATE runs
SET enqueued_at = ?2
FROM json_each(?1) AS handed
WHERE runs.id = unhex(handed.value ->> 0)
    AND runs.epoch = handed.value ->> 1
    AND runs.state = 'SCHEDULED'

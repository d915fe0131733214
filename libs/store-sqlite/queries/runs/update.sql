UPDATE runs
SET due_at = v ->> 1,
    started_at = v ->> 2,
    state = v ->> 3,
    state_name = v ->> 4,
    state_message = v ->> 5,
    state_at = v ->> 6,
    holder = v ->> 7,
    timer_at = v ->> 8,
    epoch = v ->> 9,
    attempt = v ->> 10,
    crashes = v ->> 11,
    retries = v ->> 12,
    event_seq = v ->> 13,
    cascade_pending = v ->> 14,
    ended_at = v ->> 15,
    enqueued_at = v ->> 16
FROM (SELECT value AS v FROM json_each(?1))
WHERE runs.id = unhex(v ->> 0)

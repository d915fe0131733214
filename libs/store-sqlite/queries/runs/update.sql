UPDATE runs
SET session_id = unhex(v ->> 1),
    due_at = v ->> 2,
    expires_at = v ->> 3,
    started_at = v ->> 4,
    state = v ->> 5,
    state_name = v ->> 6,
    state_message = v ->> 7,
    state_at = v ->> 8,
    holder = v ->> 9,
    timer_at = v ->> 10,
    epoch = v ->> 11,
    attempt = v ->> 12,
    crashes = v ->> 13,
    retries = v ->> 14,
    event_seq = v ->> 15,
    cascade_pending = v ->> 16,
    pause_key = v ->> 17,
    resumed_keys = v -> 18,
    ended_at = v ->> 19,
    enqueued_at = v ->> 20,
    queue_slot = v ->> 21
FROM (SELECT value AS v FROM json_each(?1))
WHERE runs.id = unhex(v ->> 0)

UPDATE idempotency_keys
SET n_answers = n_answers + (answered.value ->> 3),
    answered_at = ?2
FROM json_each(?1) AS answered
WHERE namespace = answered.value ->> 0
    AND scope = answered.value ->> 1
    AND idempotency_keys.key = answered.value ->> 2

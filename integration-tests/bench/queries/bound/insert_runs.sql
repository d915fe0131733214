-- {rest}: the columns that are not named here, as the pattern has them.
INSERT INTO runs (id, root_id, run_name, created_at, due_at, state_at, enqueued_at{rest})
SELECT new.id, new.id, new.run_name, $3, $3, $3, $3{rest of pattern}
FROM UNNEST($1::uuid[], $2::text[]) AS new (id, run_name)
CROSS JOIN (SELECT * FROM runs WHERE id = $4) AS pattern

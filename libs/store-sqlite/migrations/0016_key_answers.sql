-- What became of an idempotency key since it made its run.
ALTER TABLE idempotency_keys ADD COLUMN n_answers INTEGER NOT NULL DEFAULT 0; -- later calls that got the run
ALTER TABLE idempotency_keys ADD COLUMN answered_at INTEGER; -- the last of them

-- What deliveries are told apart by. Without defaults: rows are not rewritten, and the version before this one goes on.
ALTER TABLE runs
    ADD COLUMN fairness_key text COLLATE "C",
    ADD COLUMN required_labels jsonb, -- an object of texts; NULL: any worker may have the run
    ADD COLUMN preferred_worker text COLLATE "C";

-- What deliveries are told apart by.
ALTER TABLE runs ADD COLUMN fairness_key TEXT;
ALTER TABLE runs ADD COLUMN required_labels TEXT; -- a JSON object of texts; NULL: any worker may have the run
ALTER TABLE runs ADD COLUMN preferred_worker TEXT;

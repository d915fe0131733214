-- One parent with ten thousand children is all that a sample shows; taken for what parents are like, it would have every
-- step of a walk read the whole partition. Partitions that are still to be made take this over from the default one.
ALTER TABLE runs ALTER COLUMN parent_id SET (n_distinct = -0.1);

DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'runs'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN parent_id SET (n_distinct = -0.1)', part);
    END LOOP;
END
$$;

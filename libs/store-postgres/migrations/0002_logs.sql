-- Log lines, in a partition per day of storing, so that retention drops tables and deletes no rows. The day is
-- the server's, not the writer's: a writer's clock may be anywhere.
CREATE TABLE logs (
    stored_day integer NOT NULL, -- days since 1970-01-01, UTC
    -- The order of storing. A reader follows transactions that no older one can still join, so it never goes past
    -- a line that appears later. After a logical restore into another cluster transaction numbers start anew:
    -- `UPDATE logs SET txid = 0` then puts the restored lines before all new ones.
    txid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    ordinal integer NOT NULL,
    namespace text NOT NULL,
    run_id uuid NOT NULL,
    root_run_id uuid NOT NULL,
    attempt integer NOT NULL,
    seq bigint NOT NULL,
    logged_at bigint NOT NULL, -- microseconds since 1970-01-01, by the writer's clock
    level smallint NOT NULL, -- OpenTelemetry's severity number, 0 where there is none
    logger text NOT NULL,
    message text NOT NULL,
    trace_id text,
    span_id text
) PARTITION BY RANGE (stored_day);

-- Takes what no day was made for, so that nothing is ever refused; the next preparation moves it.
CREATE TABLE logs_default PARTITION OF logs DEFAULT;

-- logs/query_run.sql
CREATE INDEX logs_run_by_time ON logs (run_id, logged_at, txid, ordinal);
-- logs/query_tree.sql
CREATE INDEX logs_tree_by_time ON logs (root_run_id, logged_at, txid, ordinal);
-- logs/tail_run.sql
CREATE INDEX logs_run_by_position ON logs (run_id, txid, ordinal);
-- logs/tail_tree.sql
CREATE INDEX logs_tree_by_position ON logs (root_run_id, txid, ordinal);

-- Which numbers each writer has stored, so that a repeated line is known: one row per writing process, locked by
-- the transaction that stores its lines.
CREATE TABLE log_writers (
    namespace text NOT NULL,
    writer text NOT NULL,
    stored text NOT NULL, -- ranges: `1-15,17`
    stored_day integer NOT NULL, -- of the last lines
    PRIMARY KEY (namespace, writer)
) WITH (fillfactor = 70); -- room for updates in place: the row changes with every batch

-- log_writers/forget.sql
CREATE INDEX log_writers_by_day ON log_writers (stored_day);

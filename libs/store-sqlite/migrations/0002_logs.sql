-- Log lines. There is one writer at a time, so the order of `position` is the order of commits. AUTOINCREMENT: a
-- number is not used again after retention took its row.
CREATE TABLE logs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stored_day INTEGER NOT NULL, -- days since 1970-01-01, UTC, by the server's clock
    namespace TEXT NOT NULL,
    run_id BLOB NOT NULL,
    root_run_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    logged_at INTEGER NOT NULL, -- microseconds since 1970-01-01, by the writer's clock
    level INTEGER NOT NULL, -- OpenTelemetry's severity number, 0 where there is none
    logger TEXT NOT NULL,
    message TEXT NOT NULL,
    trace_id TEXT,
    span_id TEXT
) STRICT;

-- logs/query_run.sql
CREATE INDEX logs_run_by_time ON logs (run_id, logged_at, position);
-- logs/query_tree.sql
CREATE INDEX logs_tree_by_time ON logs (root_run_id, logged_at, position);
-- logs/tail_run.sql
CREATE INDEX logs_run_by_position ON logs (run_id, position);
-- logs/tail_tree.sql
CREATE INDEX logs_tree_by_position ON logs (root_run_id, position);

-- Which numbers each writer has stored, so that a repeated line is known.
CREATE TABLE log_writers (
    namespace TEXT NOT NULL,
    writer TEXT NOT NULL,
    stored TEXT NOT NULL, -- ranges: `1-15,17`
    stored_day INTEGER NOT NULL, -- of the last lines
    PRIMARY KEY (namespace, writer)
) STRICT, WITHOUT ROWID;

-- log_writers/forget.sql
CREATE INDEX log_writers_by_day ON log_writers (stored_day);

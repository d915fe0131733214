-- Only of transactions that are older than all under way: no line can appear before them any more. The last
-- columns, how far that is and whether there are lines beyond it, come also where no line is fit.
WITH settled AS MATERIALIZED (
    SELECT PG_SNAPSHOT_XMIN(PG_CURRENT_SNAPSHOT())::text::bigint AS txid
)
SELECT
    line.*,
    settled.txid,
    EXISTS (SELECT FROM logs WHERE logs.root_run_id = $1 AND logs.txid >= settled.txid) AS more_soon
FROM settled
LEFT JOIN LATERAL (
    SELECT run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id, span_id, txid, ordinal
    FROM logs
    WHERE
        root_run_id = $1
        AND namespace = $2
        AND level >= $3
        AND (logs.txid, logs.ordinal) > ($4, $5)
        AND logs.txid < settled.txid
    ORDER BY logs.txid, logs.ordinal
    LIMIT $6
) AS line ON TRUE
ORDER BY line.txid, line.ordinal

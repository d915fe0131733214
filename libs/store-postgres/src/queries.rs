//! The statements, from `queries/<table>/<verb>.sql`.

use sqlx::{Postgres, postgres::PgArguments, query::Query};
use tidegate_store::adapter::Statement;
use uuid::Uuid;

macro_rules! statements {
    ($($name:ident = $path:literal $(after $beginning:literal)?;)*) => {
        $(pub(crate) static $name: Statement = Statement::new(
            $path,
            concat!($(include_str!(concat!("../queries/", $beginning)), "\n",)? include_str!(concat!("../queries/", $path))),
        );)*

        /// All statements, for the test that each of them is reached by the conformance suite.
        pub static STATEMENTS: &[&Statement] = &[$(&$name),*];
    };
}

statements! {
    GET_RUNS = "runs/get.sql" after "runs/columns.sql";
    GET_DETAILS = "runs/get_details.sql" after "runs/columns.sql";
    HELD_RUNS = "runs/held.sql" after "runs/columns.sql";
    LOCK_RUNS = "runs/lock.sql" after "runs/columns.sql";
    SHARE_RUNS = "runs/share.sql" after "runs/columns.sql";
    OPEN_BELOW = "runs/open_below.sql";
    HAVE_MORE_BELOW = "runs/have_more_below.sql";
    TREE = "runs/tree.sql" after "runs/tree_walk.sql";
    TREE_COUNT = "runs/tree_count.sql" after "runs/tree_walk.sql";
    PUT_BULK_OPERATION = "bulk_operations/put.sql";
    GET_BULK_OPERATION = "bulk_operations/get.sql" after "bulk_operations/columns.sql";
    LIST_BULK_OPERATIONS = "bulk_operations/list.sql" after "bulk_operations/columns.sql";
    LOCK_BULK_OPERATION = "bulk_operations/lock.sql" after "bulk_operations/columns.sql";
    SWEEP_BULK_OPERATION = "bulk_operations/sweep.sql" after "bulk_operations/columns.sql";
    UPDATE_BULK_OPERATION = "bulk_operations/update.sql";
    PURGE_BULK_OPERATIONS = "bulk_operations/purge.sql";
    CANCELLING_OF_SESSION = "runs/cancelling_of_session.sql" after "runs/columns.sql";
    SWEEP_NEVER_ENQUEUED = "runs/sweep_never_enqueued.sql" after "runs/columns.sql";
    SWEEP_ENQUEUED_BEFORE = "runs/sweep_enqueued_before.sql" after "runs/columns.sql";
    SWEEP_TIMERS = "runs/sweep_timers.sql" after "runs/columns.sql";
    SWEEP_CASCADES = "runs/sweep_cascades.sql" after "runs/columns.sql";
    SWEEP_LOST_SESSIONS = "runs/sweep_lost_sessions.sql" after "runs/columns.sql";
    INSERT_RUNS = "runs/insert.sql";
    UPDATE_RUNS = "runs/update.sql";
    EXPIRED_RUNS = "runs/expired.sql";
    LOCK_EXPIRED_RUNS = "runs/lock_expired.sql";
    KEEPS_RUNS = "runs/keeps.sql";
    DELETE_RUNS = "runs/delete.sql";
    DELETE_BELONGINGS = "runs/delete_belongings.sql";
    MARK_ENQUEUED = "runs/mark_enqueued.sql";
    LIST_EVENTS = "run_events/list.sql" after "run_events/columns.sql";
    READ_FEED = "run_events/read_feed.sql" after "run_events/columns.sql";
    READ_FEED_OF_RUNS = "run_events/read_feed_of_runs.sql" after "run_events/columns.sql";
    READ_FEED_OF_ROOT = "run_events/read_feed_of_root.sql" after "run_events/columns.sql";
    FEED_END = "run_events/feed_end.sql";
    FEED_START = "run_events/feed_start.sql";
    HIDDEN_EVENTS = "run_events/hidden.sql";
    APPEND_EVENTS = "run_events/append.sql";
    GET_PARAMETERS = "run_payloads/get_parameters.sql";
    PUT_PAYLOADS = "run_payloads/put.sql";
    COPY_RESULTS = "run_payloads/copy_results.sql";
    PUT_FAILURES = "run_failures/put.sql";
    GET_INPUTS = "run_inputs/get.sql";
    PUT_INPUTS = "run_inputs/put.sql";
    FIND_CACHE_KEYS = "cache_keys/find.sql";
    PUT_CACHE_KEYS = "cache_keys/put.sql";
    PURGE_CACHE_KEYS = "cache_keys/purge.sql";
    DELETE_CACHE_KEYS_BETWEEN = "cache_keys/delete_between.sql";
    GET_KEY = "idempotency_keys/get.sql";
    FIND_KEYS = "idempotency_keys/find.sql";
    RESERVE_KEYS = "idempotency_keys/reserve.sql";
    NOTE_ANSWERS = "idempotency_keys/note_answers.sql";
    KEYS_OF_RUN = "idempotency_keys/of_run.sql";
    PURGE_KEYS = "idempotency_keys/purge.sql";
    FIND_LIMITS = "concurrency_limits/find.sql" after "concurrency_limits/columns.sql";
    LIST_LIMITS = "concurrency_limits/list.sql" after "concurrency_limits/columns.sql";
    LOCK_LIMITS = "concurrency_limits/lock.sql";
    PUT_LIMIT = "concurrency_limits/put.sql";
    DELETE_LIMIT = "concurrency_limits/delete.sql";
    TEMPLATE_USE = "concurrency_limits/template_use.sql";
    COUNT_COLLISION = "concurrency_limits/collision.sql";
    PUT_RATES = "concurrency_rates/put.sql";
    CLAMP_RATES = "concurrency_rates/clamp.sql";
    DELETE_RATE = "concurrency_rates/delete.sql";
    PURGE_RATES = "concurrency_rates/purge.sql";
    OLDEST_SLOTS = "concurrency_slots/oldest.sql";
    NEWEST_SLOTS = "concurrency_slots/newest.sql";
    ASK_SLOTS = "concurrency_slots/ask.sql";
    SLOTS_TO_ASK = "concurrency_slots/to_ask.sql";
    NOTE_ASKED = "concurrency_slots/note_asked.sql";
    RENEW_LEASES = "concurrency_slots/renew.sql";
    SLOTS_OF_OWNER = "concurrency_slots/of_owner.sql";
    WAIT_OF_OWNER = "concurrency_waits/of_owner.sql";
    END_LEASE_WAIT = "concurrency_waits/end_lease.sql";
    PUT_LEASE_WAIT = "concurrency_waits/put_lease.sql";
    COUNT_LINE = "concurrency_waits/count_line.sql";
    FIRST_LAPSE = "concurrency_waits/first_lapse.sql";
    USE_LAPSES = "concurrency_waits/use_lapses.sql";
    RETURN_LOST_WAITS = "concurrency_waits/return_lost.sql";
    PASS_OVER = "concurrency_waits/pass_over.sql";
    WAITS_OF_RUNS = "concurrency_waits/of_runs.sql";
    HANDED_LEASES = "concurrency_waits/handed_leases.sql";
    PURGE_LEASE_WAITS = "concurrency_waits/purge_leases.sql";
    LIST_SLOTS = "concurrency_slots/list.sql";
    TAKE_SLOTS = "concurrency_slots/take.sql";
    FREE_SLOTS = "concurrency_slots/free.sql";
    CLEAR_SLOTS = "concurrency_slots/clear.sql";
    PUT_WAITS = "concurrency_waits/put.sql";
    END_WAITS = "concurrency_waits/end.sql";
    COUNT_WAITS = "concurrency_waits/count.sql";
    NEXT_AWAITED = "concurrency_waits/next.sql";
    LOCK_HAND_OUT = "concurrency_waits/lock_hand_out.sql";
    HAND_OUT_WAITS = "concurrency_waits/hand_out.sql";
    FIND_QUEUES = "queues/find.sql" after "queues/columns.sql";
    LIST_QUEUES = "queues/list.sql" after "queues/columns.sql";
    PUT_QUEUE = "queues/put.sql";
    DELETE_QUEUE = "queues/delete.sql";
    DELETE_QUEUE_LIMIT = "queues/delete_limit.sql";
    COUNT_HELD_IN_QUEUE = "queues/count_held.sql";
    SHARE_QUEUES = "queues/share.sql";
    HOLD_QUEUE_SLOTS = "queues/hold_slots.sql";
    FIND_DEPLOYMENTS = "deployments/find.sql" after "deployments/columns.sql";
    LIST_DEPLOYMENTS = "deployments/list.sql" after "deployments/columns.sql";
    LIST_DEPLOYMENT_NAMES = "deployments/names.sql";
    COUNT_DEPLOYMENTS = "deployments/count.sql";
    LOCK_DEPLOYMENT = "deployments/lock.sql";
    PUT_DEPLOYMENT = "deployments/put.sql";
    DELETE_DEPLOYMENT = "deployments/delete.sql";
    FIND_WORK_POOLS = "work_pools/find.sql" after "work_pools/columns.sql";
    LIST_WORK_POOLS = "work_pools/list.sql" after "work_pools/columns.sql";
    LIST_WORK_POOL_NAMES = "work_pools/names.sql";
    COUNT_WORK_POOLS = "work_pools/count.sql";
    COUNT_HELD_IN_WORK_POOL = "work_pools/count_held.sql";
    DEPLOYMENT_OF_WORK_POOL = "work_pools/deployment.sql";
    PUT_WORK_POOL = "work_pools/put.sql";
    DELETE_WORK_POOL = "work_pools/delete.sql";
    GET_JOBS = "runs/get_jobs.sql";
    KEEP_WORK_POOL = "work_pools/keep.sql";
    LOCK_WORK_POOL = "work_pools/lock.sql";
    LIST_DEPLOYMENT_VERSIONS = "deployment_versions/list.sql";
    PUT_DEPLOYMENT_VERSION = "deployment_versions/put.sql";
    DELETE_DEPLOYMENT_VERSIONS = "deployment_versions/delete_to.sql";
    GET_SCHEDULE = "schedules/get.sql" after "schedules/columns.sql";
    LOCK_SCHEDULE = "schedules/lock.sql" after "schedules/columns.sql";
    LIST_SCHEDULES = "schedules/list.sql" after "schedules/columns.sql";
    LIST_SCHEDULES_OF_DEPLOYMENT = "schedules/list_of_deployment.sql" after "schedules/columns.sql";
    NEXT_SCHEDULE = "schedules/next.sql";
    COUNT_SCHEDULES = "schedules/count.sql";
    PUT_SCHEDULE = "schedules/put.sql";
    DELETE_SCHEDULE = "schedules/delete.sql";
    DELETE_SCHEDULES_OF_DEPLOYMENT = "schedules/delete_of_deployment.sql";
    SWEEP_SCHEDULES = "schedules/sweep.sql" after "schedules/columns.sql";
    ADVANCE_SCHEDULES = "schedules/advance.sql";
    DELETE_KEYS_BETWEEN = "idempotency_keys/delete_between.sql";
    LIST_PARTITIONS = "partitions/list.sql";
    NEWEST_UNPLACED = "partitions/newest_unplaced.sql";
    PARTITION_OPTIONS = "partitions/options.sql";
    PARTITION_COLUMN_OPTIONS = "partitions/column_options.sql";
    IS_PARTITION_NAMED = "partitions/is_named.sql";
    GET_ARTIFACT = "artifacts/get.sql" after "artifacts/columns.sql";
    FIND_ARTIFACT_BY_KEY = "artifacts/find_by_key.sql" after "artifacts/columns.sql";
    FIND_ARTIFACTS = "artifacts/find.sql" after "artifacts/columns.sql";
    LOCK_ARTIFACT = "artifacts/lock.sql" after "artifacts/columns.sql";
    COUNT_ARTIFACTS = "artifacts/count.sql";
    INSERT_ARTIFACTS = "artifacts/insert.sql";
    UPDATE_ARTIFACT = "artifacts/update.sql";
    DELETE_ARTIFACT = "artifacts/delete.sql";
    DELETE_VERSIONS = "artifacts/delete_versions.sql";
    DELETE_ARTIFACTS_BETWEEN = "artifacts/delete_between.sql";
    PURGE_ARTIFACTS = "artifacts/purge.sql";
    TAKE_VERSIONS = "artifact_keys/take.sql";
    PURGE_ARTIFACT_KEYS = "artifact_keys/purge.sql";
    GET_VARIABLES = "variables/get.sql" after "variables/columns.sql";
    LIST_VARIABLES = "variables/list.sql" after "variables/columns.sql";
    LOCK_VARIABLE = "variables/lock.sql" after "variables/columns.sql";
    COUNT_VARIABLES = "variables/count.sql";
    INSERT_VARIABLE = "variables/insert.sql";
    UPDATE_VARIABLE = "variables/update.sql";
    DELETE_VARIABLE = "variables/delete.sql";
    GET_AUTOMATION = "automations/get.sql" after "automations/columns.sql";
    LIST_AUTOMATIONS = "automations/list.sql" after "automations/columns.sql";
    LOCK_AUTOMATION = "automations/lock.sql" after "automations/columns.sql";
    LOCK_AUTOMATIONS = "automations/lock_several.sql";
    COUNT_AUTOMATIONS = "automations/count.sql";
    INSERT_AUTOMATION = "automations/insert.sql";
    UPDATE_AUTOMATION = "automations/update.sql";
    DELETE_AUTOMATION = "automations/delete.sql";
    PAUSE_CROWDED_AUTOMATIONS = "automations/pause_crowded.sql";
    LIST_FIRINGS = "automation_firings/list.sql" after "automation_firings/columns.sql";
    FIRINGS_TO_FILTER = "automation_firings/to_filter.sql" after "automation_firings/columns.sql";
    FILTER_FIRINGS = "automation_firings/filter.sql";
    TAKE_FIRINGS = "automation_firings/take.sql";
    FINISH_FIRINGS = "automation_firings/finish.sql";
    CLEAR_FIRINGS = "automation_firings/clear.sql";
    PURGE_FIRINGS = "automation_firings/purge.sql";
    PUT_SESSION = "sessions/put.sql";
    END_SESSION = "sessions/end.sql";
    LIVE_SESSIONS = "sessions/live.sql";
    PURGE_SESSIONS = "sessions/purge.sql";
    ANNOUNCE_OBJECT = "payload_objects/announce.sql";
    FIND_OBJECT = "payload_objects/find.sql";
    COMPLETE_OBJECT = "payload_objects/complete.sql";
    USE_OBJECTS = "payload_objects/use.sql";
    TAKE_ORPHANS = "payload_objects/take_orphans.sql";
    FORGET_OBJECTS = "payload_objects/forget.sql";
}

/// What the statements that list artifacts begin with.
pub(crate) const ARTIFACT_COLUMNS: &str = include_str!("../queries/artifacts/columns.sql");
/// What the statements that list runs begin with.
pub(crate) const RUN_COLUMNS: &str = include_str!("../queries/runs/columns.sql");

/// A statement whose first parameters are ids of runs, the smallest and the largest of them. Partitions are told apart
/// by the latter two: by an array, which a prepared plan does not know, they are not.
pub(crate) fn of_runs(
    statement: &'static Statement,
    ids: Vec<Uuid>,
) -> Query<'static, Postgres, PgArguments> {
    let smallest = ids.iter().min().copied().unwrap_or_default();
    let largest = ids.iter().max().copied().unwrap_or_default();
    sqlx::query(statement.sql()).bind(ids).bind(smallest).bind(largest)
}

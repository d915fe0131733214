//! Bounds on what comes from outside. `SystemService.GetLimits` publishes them.

use std::time::Duration;

/// Items of one batch, on every hop.
pub const MAX_BATCH_SIZE: usize = 1_000;
/// Bytes of one gRPC message.
pub const MAX_MESSAGE_SIZE: usize = 8 << 20;
/// Bytes of a value that is kept in its row; a larger one is kept in object storage.
pub const MAX_INLINE_PAYLOAD_SIZE: usize = 64 << 10;
/// Bytes of a value that travels within a message; a larger one is uploaded before.
pub const MAX_MESSAGE_PAYLOAD_SIZE: usize = 2 << 20;
/// Bytes of one piece of a value that is uploaded or downloaded.
pub const MAX_CHUNK_SIZE: usize = 1 << 20;
/// Entries in the metadata of one payload.
pub const MAX_METADATA_ENTRIES: usize = 16;
/// Bytes of a key in the metadata of a payload.
pub const MAX_METADATA_KEY_SIZE: usize = 64;
/// Bytes of a value in the metadata of a payload.
pub const MAX_METADATA_VALUE_SIZE: usize = 1 << 10;
/// Runs above a run.
pub const MAX_TREE_DEPTH: u32 = 1_000;
/// Tags of one run.
pub const MAX_TAGS: usize = 50;
/// Bytes of one tag.
pub const MAX_TAG_SIZE: usize = 128;
/// Labels of one run, with those that it inherits.
pub const MAX_LABELS: usize = 50;
/// Bytes of a label's key.
pub const MAX_LABEL_KEY_SIZE: usize = 64;
/// Bytes of a label's value.
pub const MAX_LABEL_VALUE_SIZE: usize = 256;
/// Labels that a worker must have to take a run.
pub const MAX_REQUIRED_LABELS: usize = 8;
/// Labels of one worker.
pub const MAX_WORKER_LABELS: usize = 50;
/// Workers of a namespace that are told of, live ones and those that have ended; others are forgotten.
pub const MAX_TOLD_WORKERS: usize = 10_000;
/// Workers of one page: with all of their labels and queues they fit into a message.
pub const MAX_WORKERS_OF_PAGE: usize = 250;
/// Bytes of what people call a worker.
pub const MAX_WORKER_NAME_SIZE: usize = 128;
/// Concurrency limits of one run.
pub const MAX_CONCURRENCY_LIMITS: usize = 10;
/// Bytes of a concurrency limit's name.
pub const MAX_CONCURRENCY_LIMIT_SIZE: usize = 128;
/// What the names of the limits of queues begin with, and no others.
pub const QUEUE_LIMIT_PREFIX: &str = "queue:";
/// What the names of the limits of deployments begin with, and no others.
pub const DEPLOYMENT_LIMIT_PREFIX: &str = "deployment:";
/// What the names of the limits of work pools begin with.
pub const WORK_POOL_LIMIT_PREFIX: &str = "pool:";
/// Work pools of a namespace.
pub const MAX_WORK_POOLS: usize = 1_000;
/// Queues of a work pool, as many as a worker serves.
pub const MAX_WORK_POOL_QUEUES: usize = 64;
/// Bytes of a work pool's description.
pub const MAX_WORK_POOL_DESCRIPTION_SIZE: usize = 4 << 10;
/// Bytes of job variables, their schema and a job template, each.
pub const MAX_JOB_JSON_SIZE: usize = 64 << 10;
/// Words of a deployment's command.
pub const MAX_COMMAND_WORDS: usize = 256;
/// Bytes of all words of a command.
pub const MAX_COMMAND_SIZE: usize = 32 << 10;
/// What the names of the limits of schedules begin with, and no others.
pub const SCHEDULE_LIMIT_PREFIX: &str = "schedule:";
/// Deployments of one namespace.
pub const MAX_DEPLOYMENTS: usize = 5_000;
/// Bytes of a deployment's name: those of two names, and a slash.
pub const MAX_DEPLOYMENT_NAME_SIZE: usize = 2 * MAX_NAME_SIZE + 1;
/// Bytes of a deployment's description.
pub const MAX_DESCRIPTION_SIZE: usize = 4 << 10;
/// Bytes of a deployment's entrypoint.
pub const MAX_ENTRYPOINT_SIZE: usize = 1 << 10;
/// Bytes of a deployment's default parameters, and of its schema, each.
pub const MAX_DEPLOYMENT_JSON_SIZE: usize = 64 << 10;
/// Bytes of what people call a version of a deployment.
pub const MAX_VERSION_LABEL_SIZE: usize = 128;
/// Versions of a deployment that are kept.
pub const MAX_DEPLOYMENT_VERSIONS: usize = 100;
/// Schedules of one deployment, so that a namespace has at most as many for each deployment that it may have.
pub const MAX_SCHEDULES: usize = 100;
/// Bytes of the parameters of a schedule, and of its job variables, each.
pub const MAX_SCHEDULE_JSON_SIZE: usize = 64 << 10;
/// Times that one backfill has at most.
pub const MAX_BACKFILL: usize = 10_000;
/// Runs that are made at most for the times that a schedule has missed.
pub const MAX_CATCH_UP: u32 = 10_000;
/// How late a time of a schedule may be that is not missed.
pub const MAX_CATCH_UP_GRACE: Duration = Duration::from_secs(7 * 86_400);
/// How much later than its time a run of a schedule may start.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);
/// Bytes of what goes wrong with a schedule that are kept.
pub const MAX_SCHEDULE_ERROR_SIZE: usize = 4 << 10;
/// Slots of one concurrency limit.
pub const MAX_CONCURRENCY_SLOTS: u32 = 1_000_000;
/// Starts in one period of a concurrency limit's rate, and of its burst.
pub const MAX_RATE_STARTS: u32 = 1_000_000;
/// The period of a rate.
pub const RATE_PERIODS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
/// How long a rate may take to save up its whole burst.
pub const MAX_BURST_SPAN: Duration = Duration::from_secs(365 * 86_400);
/// How long code may have slots by a lease without renewing it.
pub const LEASE_DURATIONS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// How long one call may wait for slots.
pub const MAX_LEASE_WAIT: Duration = Duration::from_secs(60);
/// Slots of a concurrency limit whose owners are told at once.
pub const MAX_LISTED_SLOTS: usize = 1_000;
/// Artifacts of one run.
pub const MAX_ARTIFACTS: u64 = 1_000;
/// Versions that are kept of one key of artifacts.
pub const MAX_ARTIFACT_VERSIONS: u64 = 100;
/// Bytes of an artifact's description.
pub const MAX_ARTIFACT_DESCRIPTION_SIZE: usize = 4 << 10;
/// Variables of one namespace.
pub const MAX_VARIABLES: u64 = 10_000;
/// Bytes of a variable's value.
pub const MAX_VARIABLE_SIZE: usize = 64 << 10;
/// Bytes of a variable's description.
pub const MAX_VARIABLE_DESCRIPTION_SIZE: usize = 1 << 10;
/// Variables that are given at once: all of them together fit into a message.
pub const MAX_LISTED_VARIABLES: usize = 50;
/// Automations of one namespace.
pub const MAX_AUTOMATIONS: u64 = 100;
/// Bytes of an automation's description.
pub const MAX_AUTOMATION_DESCRIPTION_SIZE: usize = 1 << 10;
/// Names of states of one trigger.
pub const MAX_TRIGGER_STATE_NAMES: usize = 50;
/// Automations of one page, as many as a namespace may have.
pub const MAX_LISTED_AUTOMATIONS: usize = 100;
/// Bytes of the URL of a webhook.
pub const MAX_WEBHOOK_URL_SIZE: usize = 2 << 10;
/// Headers of a webhook.
pub const MAX_WEBHOOK_HEADERS: usize = 20;
/// Bytes of the name of a webhook's header.
pub const MAX_WEBHOOK_HEADER_NAME_SIZE: usize = 128;
/// Bytes of the value of a webhook's header.
pub const MAX_WEBHOOK_HEADER_VALUE_SIZE: usize = 4 << 10;
/// Bytes of the key that signs a webhook.
pub const WEBHOOK_SECRET_SIZES: std::ops::RangeInclusive<usize> = 24..=64;
/// How long a webhook's answer must be allowed to take.
pub const MIN_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a webhook's answer may take.
pub const MAX_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take where the automation does not say.
pub const DEFAULT_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Firings of one automation, those that were given up among them: with more it is paused.
pub const MAX_FIRINGS: usize = 100_000;
/// How long a firing is tried again after its event.
pub const FIRING_TRIED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long a firing that was given up is shown.
pub const GIVEN_UP_FIRINGS_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// Bytes of what a firing fails of that are kept.
pub const MAX_FIRING_ERROR_SIZE: usize = 1 << 10;
/// Bytes of a cache key.
pub const MAX_CACHE_KEY_SIZE: usize = 512;
/// How long a result may serve other runs.
pub const MAX_CACHE_AGE: Duration = Duration::from_secs(365 * 86_400);
/// Error types in each list of a retry policy.
pub const MAX_ERROR_TYPES: usize = 50;
/// Pauses of one run that the code itself makes.
pub const MAX_PAUSES: usize = 1_000;
/// Bytes of the key of a pause.
pub const MAX_PAUSE_KEY_SIZE: usize = 128;
/// How long a run may be paused with a timeout.
pub const MAX_PAUSE: Duration = Duration::from_secs(365 * 86_400);
/// Bytes kept of the name of who asks for something.
pub const MAX_ACTOR_SIZE: usize = 256;
/// Bytes of a flow's, task's or run's name.
pub const MAX_NAME_SIZE: usize = 256;
/// Bytes of a queue's or namespace's name.
pub const MAX_WORD_SIZE: usize = 128;
/// Bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_SIZE: usize = 512;
/// Bytes of a filter.
pub const MAX_FILTER_SIZE: usize = 4 << 10;
/// Parentheses and negations of a filter within each other.
pub const MAX_FILTER_DEPTH: usize = 20;
/// Comparisons of a filter; each value in parentheses is one.
pub const MAX_FILTER_COMPARISONS: usize = 200;
/// Bytes of an `order_by`.
pub const MAX_ORDER_SIZE: usize = 256;
/// Up to how many runs are counted one by one.
pub const MAX_EXACT_COUNT: u64 = 10_000;
/// How far the time in an id that a caller brings may lie ahead: clocks differ, and the store makes room for later runs.
pub const MAX_ID_AHEAD: Duration = Duration::from_secs(86_400);
/// How far ahead a run may be due.
pub const MAX_DELAY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Bytes kept of a failure's type.
pub const MAX_ERROR_TYPE_SIZE: usize = 256;
/// Bytes kept of a failure's message.
pub const MAX_ERROR_MESSAGE_SIZE: usize = 4 << 10;
/// Bytes kept of a failure's traceback.
pub const MAX_TRACEBACK_SIZE: usize = 32 << 10;
/// Bytes kept of a reason or cause that people give.
pub const MAX_REASON_SIZE: usize = 1 << 10;
/// Runs named by one wait or watch.
pub const MAX_WATCHED_RUNS: usize = 10_000;
/// Items of one page, at most.
pub const MAX_PAGE_SIZE: usize = 1_000;
/// Items of one page where the caller does not say.
pub const DEFAULT_PAGE_SIZE: usize = 50;

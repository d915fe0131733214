use std::{sync::Arc, time::Duration};

use sqlx::{
    Connection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tidegate_model::{Clock as _, SystemClock};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    OpenError, follow,
    logs::{LogWrites, PgLogs},
    partitions,
    turns::Turns,
};

static MIGRATOR: Migrator = sqlx::migrate!();

/// A connection that was idle for longer is asked for a sign of life before it is used: the server may have
/// restarted. Busy ones save that round trip.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// Every statement is written for an index, so the planner is to look for nothing else: what it knows of a new
/// partition, which is empty, would make it read the whole of it in a plan that is then kept, and of all partitions
/// together it knows nothing, so that it would join a batch by reading everything. For the same reason it need not plan a
/// statement anew for each batch, which took a third of the server's time under a load of small ones. Those that are put
/// together from a filter are planned for their values all the same, in a transaction of `PgStore::begin_for_values`.
const PLANNER: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];

/// How to use a server.
#[derive(Clone, Debug)]
pub struct PgOptions {
    /// Connections at most; one more listens for commits. Too few: batches queue up. Too many: the server has a
    /// process for each.
    pub max_connections: u32,
    /// How long to wait for a free connection, and for a new one.
    pub acquire_timeout: Duration,
    /// When the server breaks off a statement.
    pub statement_timeout: Duration,
    /// When the server breaks off the wait for a lock.
    pub lock_timeout: Duration,
    /// What the server's own lists call us.
    pub application_name: String,
    /// How log lines are written.
    pub log_writes: LogWrites,
    /// How much time a partition of runs spans: whole days. Short: retention is exact, and every statement has more
    /// partitions to look at. It holds for partitions that are still to be made.
    pub partition_width: Duration,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(5),
            application_name: "tidegate".to_owned(),
            log_writes: LogWrites::Auto,
            partition_width: Duration::from_secs(7 * 86_400),
        }
    }
}

/// So many counts for bulk operations leave most connections to others, however long each takes.
const N_COUNTS: usize = 2;

/// A Postgres database as the store. Cheap to clone; the last clone takes its background tasks with it.
#[derive(Clone, Debug)]
pub struct PgStore {
    pub(crate) pool: PgPool,
    pub(crate) signals: Arc<Signals>,
    pub(crate) logs: PgLogs,
    pub(crate) partition_width: Duration,
    pub(crate) counts: Arc<Turns>,
    _tasks: Arc<JoinSet<()>>,
}

/// What is told after a commit.
#[derive(Debug)]
pub(crate) struct Signals {
    /// To the readers in this process.
    pub(crate) commits: watch::Sender<u64>,
    /// To the task that tells the other processes. Commits that come while it is at work are told as one.
    pub(crate) tell_others: Notify,
    /// To the task that watches over events that are committed and not yet readable.
    pub(crate) look_for_hidden: Notify,
}

impl Signals {
    /// This process has committed events.
    pub(crate) fn committed(&self) {
        self.heard();
        self.tell_others.notify_one();
    }

    /// Some process has, or may have.
    pub(crate) fn heard(&self) {
        self.wake_readers();
        self.look_for_hidden.notify_one();
    }

    pub(crate) fn wake_readers(&self) {
        self.commits.send_modify(|n_commits| *n_commits = n_commits.wrapping_add(1));
    }
}

impl PgStore {
    /// Connects, and brings the schema up to date. Any number of processes may do that at once.
    pub async fn connect(url: &str, options: &PgOptions) -> Result<Self, OpenError> {
        let (connect, server) = parse_url(url, options)?;
        migrate(&connect, options, &server, &MIGRATOR).await?;
        Self::serve(url, connect, options, &server).await
    }

    /// Serves the schema that is there.
    async fn serve(
        url: &str,
        connect: PgConnectOptions,
        options: &PgOptions,
        server: &Server,
    ) -> Result<Self, OpenError> {
        // Listeners sleep, and would be no better for timeouts. One is for runs, one for logs.
        let listening = PgPoolOptions::new().max_connections(2).connect_lazy_with(connect.clone());
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(
                connect
                    .options([
                        ("statement_timeout", format!("{}ms", options.statement_timeout.as_millis())),
                        ("lock_timeout", format!("{}ms", options.lock_timeout.as_millis())),
                        // What a process that is frozen holds is not to hold up all others for good.
                        ("idle_in_transaction_session_timeout", "60s".to_owned()),
                    ])
                    .options(PLANNER),
            )
            .await
            .map_err(|error| server.unreachable(&error))?;
        if let Err(error) = partitions::prepare(&pool, SystemClock.now(), options.partition_width).await {
            warn!("no partitions were made ahead, the default one takes what has none: {error}");
        }

        let logs = PgLogs::new(url, options.log_writes, pool.clone(), listening.clone());
        let signals = Arc::new(Signals {
            commits: watch::Sender::new(0),
            tell_others: Notify::new(),
            look_for_hidden: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        follow::spawn(&mut tasks, &pool, listening, &signals);
        let partition_width = options.partition_width;
        let counts = Arc::new(Turns::new(N_COUNTS));
        Ok(Self { pool, signals, logs, partition_width, counts, _tasks: Arc::new(tasks) })
    }
}

/// For tests: brings the schema to an older version.
#[cfg(feature = "testing")]
pub(crate) async fn migrate_to(version: u32, url: &str) -> Result<(), OpenError> {
    let options = PgOptions::default();
    let (connect, server) = parse_url(url, &options)?;
    let known = MIGRATOR.iter().filter(|migration| migration.version <= i64::from(version));
    migrate(&connect, &options, &server, &Migrator::with_migrations(known.cloned().collect())).await
}

/// For tests: serves the schema that is there, as a process does that was started before a later one migrated.
#[cfg(feature = "testing")]
pub(crate) async fn connect_unmigrated(url: &str, options: &PgOptions) -> Result<PgStore, OpenError> {
    let (connect, server) = parse_url(url, options)?;
    PgStore::serve(url, connect, options, &server).await
}

fn parse_url(url: &str, options: &PgOptions) -> Result<(PgConnectOptions, Server), OpenError> {
    let connect: PgConnectOptions = url.parse().map_err(url_error)?;
    let connect = connect.application_name(&options.application_name).statement_cache_capacity(256);
    let address = format!(
        "{}:{}/{}",
        connect.get_host(),
        connect.get_port(),
        connect.get_database().unwrap_or(connect.get_username())
    );
    let server = Server { address, user: connect.get_username().to_owned() };
    Ok((connect, server))
}

/// The newest schema that this program knows.
pub(crate) fn known_schema() -> u32 {
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    u32::try_from(newest).unwrap_or(u32::MAX)
}

/// Runs the migrations on a connection without timeouts: they wait for another process that migrates (an advisory
/// lock), and may take as long as they take.
async fn migrate(
    connect: &PgConnectOptions,
    options: &PgOptions,
    server: &Server,
    migrator: &Migrator,
) -> Result<(), OpenError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(options.acquire_timeout)
        .connect_with(connect.clone())
        .await
        .map_err(|error| server.unreachable(&error))?;
    let migrated = match migrator.run(&pool).await {
        // A newer program was here. Its schema has all of ours.
        Err(MigrateError::VersionMissing(found)) if is_borne(&pool).await => {
            info!("the database has schema {found} of a newer program, beside which this one may work");
            Ok(())
        }
        migrated => migrated,
    };
    pool.close().await;
    migrated.map_err(|error| server.migrate_error(error))
}

/// Whether a program that knows this schema may use a database with a newer one.
async fn is_borne(pool: &PgPool) -> bool {
    let floor = sqlx::query_scalar::<_, i64>("SELECT floor FROM schema_floor").fetch_one(pool).await;
    floor.is_ok_and(|floor| floor <= known_schema().into())
}

fn url_error(error: sqlx::Error) -> OpenError {
    // The parser's causes are fixed texts; other errors may quote the URL with its password.
    let cause = match error {
        sqlx::Error::Configuration(cause) => cause.to_string(),
        _ => "it is not a URL".to_owned(),
    };
    OpenError::Url { cause }
}

/// Whom we talk to, for errors.
struct Server {
    address: String,
    user: String,
}

impl Server {
    fn unreachable(&self, error: &sqlx::Error) -> OpenError {
        let cause = match error {
            sqlx::Error::PoolTimedOut => "no answer in time".to_owned(),
            sqlx::Error::Database(error) => error.message().to_owned(),
            sqlx::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        OpenError::Unreachable { server: self.address.clone(), cause }
    }

    fn migrate_error(&self, error: MigrateError) -> OpenError {
        const INSUFFICIENT_PRIVILEGE: &str = "42501";
        let server = self.address.clone();
        match error {
            MigrateError::VersionMissing(found) => {
                OpenError::NewerSchema { server, found, known: known_schema() }
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                match error.as_database_error() {
                    Some(error) if error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) => {
                        let (user, cause) = (self.user.clone(), error.message().to_owned());
                        OpenError::MissingRights { server, user, cause }
                    }
                    Some(error) => OpenError::Migration { server, cause: error.to_string() },
                    None => self.unreachable(&error),
                }
            }
            other => OpenError::Migration { server, cause: other.to_string() },
        }
    }
}

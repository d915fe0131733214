use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    Client, ErrorKind, FromRedisValue, Pipeline, RedisError, Script, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use tidegate_delivery::Error;
use tokio::{sync::Notify, time::Instant};

/// How long a connection may take to come about.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long Redis may take to answer. The scripts are bounded to some milliseconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an operation may take, waiting for a new connection included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// For how long nothing more is said of a refusal: while Redis is full, or a replica, much is refused.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a connection to a replica is kept at least, at first and at most: all who listen look anew after each that is
/// left, and are refused in turn where the address leads to a replica yet.
const STAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Where Redis is.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port[/db]`.
    pub url: String,
    /// What all keys begin with. Deployments that share a server differ here. Without braces.
    pub prefix: String,
}

impl RedisOptions {
    /// The server at `url` with the usual prefix.
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: "tg".to_owned() }
    }
}

/// A script that was just loaded may be gone again: Redis restarted twice, or someone flushes scripts.
const MAX_SCRIPT_LOADS: usize = 5;

/// One connection for all commands: they are pipelined over it, and it comes back by itself. One to a server that has become
/// a replica is left.
pub(crate) struct Connection {
    client: Client,
    current: Mutex<Current>,
    told_full: Told,
    told_replica: Told,
    /// Told when the server was left: what else is connected to it is to follow.
    pub(crate) left: Arc<Notify>,
}

#[derive(Clone)]
struct Current {
    manager: ConnectionManager,
    made_at: Instant,
    /// How long it is kept, though it leads to a replica.
    stay: Duration,
}

/// When something was told last.
#[derive(Default)]
struct Told(Mutex<Option<Instant>>);

impl Told {
    /// Whether it is to be told now: once in a while.
    fn is_due(&self) -> bool {
        let mut told_at = lock(&self.0);
        let is_due = told_at.is_none_or(|told_at| told_at.elapsed() >= SILENCE);
        if is_due {
            *told_at = Some(Instant::now());
        }
        is_due
    }
}

impl Connection {
    pub(crate) async fn open(client: &Client) -> Result<Self, Error> {
        // The manager tries again and again; a server that is not there is to be told at once, and why.
        let mut first = within("connect to Redis", client.get_multiplexed_async_connection()).await?;
        check_version(&mut first).await?;
        let connecting = client.get_connection_manager_with_config(config());
        let manager = within("connect to Redis", connecting).await?;
        Ok(Self {
            client: client.clone(),
            current: Mutex::new(Current { manager, made_at: Instant::now(), stay: STAYS.0 }),
            told_full: Told::default(),
            told_replica: Told::default(),
            left: Arc::default(),
        })
    }

    /// Runs a pipeline that uses `script`, if any. Redis forgets scripts when it restarts: then the script is
    /// loaded and the whole pipeline runs again, so its commands must be repeatable.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: Option<&Script>,
        pipeline: &Pipeline,
    ) -> Result<T, Error> {
        let Current { manager: mut connection, made_at, .. } = lock(&self.current).clone();
        let running = async {
            let mut answer = pipeline.query_async(&mut connection).await;
            for _ in 0..MAX_SCRIPT_LOADS {
                match (&answer, script) {
                    (Err(error), Some(script))
                        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) =>
                    {
                        script.load_async(&mut connection).await?;
                        answer = pipeline.query_async(&mut connection).await;
                    }
                    _ => break,
                }
            }
            answer.inspect_err(|error| match Refusal::of(error) {
                Some(Refusal::Full) if self.told_full.is_due() => tracing::error!("{}", Refusal::Full),
                Some(Refusal::Full) => {}
                Some(Refusal::Replica) => self.leave(made_at),
                None => {}
            })
        };
        within(operation, running).await
    }

    /// Leaves the server to which a connection was made then. The next command connects anew, to where the address leads by
    /// then; that may be the same server for a while, or for good, so not at each refusal, and more and more rarely.
    fn leave(&self, made_at: Instant) {
        let mut current = lock(&self.current);
        let age = made_at.elapsed();
        if current.made_at != made_at || age < current.stay {
            return;
        }
        let stay = stay_after(current.stay, age);
        match self.client.get_connection_manager_lazy(config()) {
            Ok(manager) => *current = Current { manager, made_at: Instant::now(), stay },
            Err(error) => return tracing::error!(%error, "no connection to Redis can be prepared"),
        }
        drop(current);
        if self.told_replica.is_due() {
            tracing::warn!("{}", Refusal::Replica);
        }
        self.left.notify_one();
    }
}

/// How long the connection is kept that comes after one of that age. Where that was used for long, it led to a primary.
fn stay_after(stay: Duration, age: Duration) -> Duration {
    if age < SILENCE { (stay * 2).min(STAYS.1) } else { STAYS.0 }
}

fn config() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_max_delay(MAX_BACKOFF)
        .set_number_of_retries(6)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An older server takes our scripts for faulty ones at the first take, and does not say why. One that only does not
/// answer yet, because it loads its data, may be of any version.
async fn check_version(connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let with_flags = Script::new("#!lua flags=allow-oom\nreturn 1");
    let refused = with_flags.load_async(connection).await.err();
    match refused.filter(|error| error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)) {
        Some(refused) => {
            Err(unavailable("load a script with flags, which needs Redis 7.0 or newer,", refused))
        }
        None => Ok(()),
    }
}

/// Why Redis refuses what is asked of it, said once and not for each command of a pipeline.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Full,
    Replica,
}

impl Refusal {
    fn of(error: &RedisError) -> Option<Self> {
        let refused = error.clone().into_server_errors()?;
        refused.iter().find_map(|(_, error)| match error.code() {
            "OOM" => Some(Self::Full),
            // The second: it does not even answer what only reads.
            "READONLY" | "MASTERDOWN" => Some(Self::Replica),
            _ => None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => {
                "Redis is full: its `maxmemory` is used up, so it takes no further entries. Raise it, or have workers take \
                 what waits; the runs are in the store and are handed over once there is room"
            }
            Self::Replica => {
                "Redis is a replica at this address, and takes no writes: it is connected to anew, where the address may \
                 lead to the primary"
            }
        })
    }
}

impl std::error::Error for Refusal {}

pub(crate) async fn within<T>(
    operation: &'static str,
    running: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(OPERATION_TIMEOUT, running).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(match Refusal::of(&source) {
            Some(refusal) => unavailable(operation, refusal),
            None => unavailable(operation, source),
        }),
        Err(elapsed) => Err(unavailable(operation, elapsed)),
    }
}

pub(crate) fn unavailable(
    operation: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Unavailable { operation, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_address_leads_to_a_replica_it_is_left_more_and_more_rarely() {
        let mut stays = vec![STAYS.0];
        for _ in 0..5 {
            let stay = stays[stays.len() - 1];
            stays.push(stay_after(stay, stay)); // left as soon as may be
        }
        assert_eq!(stays, [1, 2, 4, 8, 15, 15].map(Duration::from_secs));
        assert_eq!(stay_after(STAYS.1, SILENCE), STAYS.0, "it led to a primary since");
    }

    #[test]
    fn what_is_told_is_not_told_again_at_once() {
        let told = Told::default();
        assert!(told.is_due());
        assert!(!told.is_due());
    }
}

use std::time::Duration;

use redis::{
    Client, ErrorKind, FromRedisValue, Pipeline, Script, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tidegate_delivery::Error;

/// How long a connection may take to come about.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long Redis may take to answer. The scripts are bounded to some milliseconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an operation may take, waiting for a new connection included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(1);

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

/// One connection for all commands: they are pipelined over it, and it comes back by itself.
#[derive(Clone)]
pub(crate) struct Connection(ConnectionManager);

impl Connection {
    pub(crate) async fn open(client: &Client) -> Result<Self, Error> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_max_delay(MAX_BACKOFF)
            .set_number_of_retries(6);
        // The manager tries again and again; a server that is not there is to be told at once, and why.
        within("connect to Redis", client.get_multiplexed_async_connection()).await?;
        let connecting = client.get_connection_manager_with_config(config);
        Ok(Self(within("connect to Redis", connecting).await?))
    }

    /// Runs a pipeline that uses `script`, if any. Redis forgets scripts when it restarts: then the script is
    /// loaded and the whole pipeline runs again, so its commands must be repeatable.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: Option<&Script>,
        pipeline: &Pipeline,
    ) -> Result<T, Error> {
        let mut connection = self.0.clone();
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
            answer
        };
        within(operation, running).await
    }
}

pub(crate) async fn within<T>(
    operation: &'static str,
    running: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(OPERATION_TIMEOUT, running).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(unavailable(operation, source)),
        Err(elapsed) => Err(unavailable(operation, elapsed)),
    }
}

pub(crate) fn unavailable(
    operation: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Unavailable { operation, source: Box::new(source) }
}

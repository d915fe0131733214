//! The server of the tests, and a prefix for each, so that they run side by side.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "tests only; not every test file uses all of it"
)]

mod server;

use redis::{AsyncCommands, AsyncConnectionConfig, RedisResult, aio::MultiplexedConnection};
pub use server::{Server, free_port};
use tidegate_delivery_redis::RedisOptions;

/// A state that nothing else uses.
pub fn options() -> RedisOptions {
    let url = std::env::var("TIDEGATE_TEST_REDIS_URL").expect(
        "TIDEGATE_TEST_REDIS_URL names a Redis server that may be wiped; integration-tests/run starts one and sets it",
    );
    RedisOptions { url, prefix: format!("test-{}", uuid::Uuid::now_v7()) }
}

/// A connection that waits as long as a busy machine needs.
pub async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let patient = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await
}

async fn keys(options: &RedisOptions) -> (MultiplexedConnection, Vec<String>) {
    let mut connection = connect(&options.url).await.unwrap();
    let keys: Vec<String> = connection.keys(format!("*{}*", options.prefix)).await.unwrap();
    (connection, keys)
}

/// Loses everything, as `FLUSHALL` does, but for this prefix only.
pub async fn wipe(options: RedisOptions) {
    let (mut connection, keys) = keys(&options).await;
    for key in keys {
        // One by one: a cluster deletes keys of one slot at a time.
        let _: () = connection.del(key).await.unwrap();
    }
}

/// How many keys there are, apart from the names of queues and the generation.
pub async fn footprint(options: RedisOptions) -> usize {
    let prefix = &options.prefix;
    let lasting = [
        format!("{prefix}:v1:queues"),
        format!("{prefix}:v1:born_at"),
        format!("{{{prefix}:v1:born_at}}:by"),
    ];
    let (_, keys) = keys(&options).await;
    keys.iter().filter(|key| !lasting.contains(key)).count()
}

//! What the adapter does when Redis forgets its scripts, goes away, or was never there.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::time::Duration;

use tidegate_delivery::{Delivery, Entry, EntryId, Function, Hint, Labels, QueueId, Requirements, Want};
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_model::{Epoch, Namespace, QueueName, RunId, RunKind, Timestamp};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn entry() -> Entry {
    let queue = QueueId { namespace: Namespace::default(), queue: QueueName::default() };
    let function = Function { kind: RunKind::Task, name: "f".parse().unwrap() };
    let id = EntryId {
        queue,
        function,
        requires: Requirements::default(),
        fairness_key: None,
        run_id: RunId::new(),
        epoch: Epoch(0),
    };
    Entry { id, priority: 0, due_at: NOW, prefers: None }
}

async fn take(delivery: &RedisDelivery, like: &Entry) -> Result<Vec<Entry>, tidegate_delivery::Error> {
    let functions = std::slice::from_ref(&like.id.function);
    let claim_lease = Duration::from_secs(60);
    let labels = Labels::new();
    let want = Want { queue: &like.id.queue, functions, labels: &labels, limit: 10, now: NOW, claim_lease };
    Ok(delivery.take(want).await?.entries)
}

/// Carries connections to `target` while `open` holds true, and cuts all of them when it becomes false.
async fn proxy(listener: TcpListener, target: String, mut open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut near, _) = accepted.unwrap();
                if !*open.borrow() {
                    continue;
                }
                let target = target.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
            _ = open.changed() => connections.abort_all(),
        }
    }
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let options = support::options();
    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let client = redis::Client::open(options.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for _ in 0..3 {
        let entry = entry();
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
        delivery.enqueue(std::slice::from_ref(&entry), NOW).await.unwrap();
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
        assert_eq!(take(&delivery, &entry).await.unwrap(), [entry]);
    }
}

#[tokio::test]
async fn a_cut_connection_mends_itself_and_listeners_hear_of_it() {
    let mut options = support::options();
    let target = options.url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    options.url = format!("redis://{}", listener.local_addr().unwrap());
    let open = watch::Sender::new(true);
    let mut tasks = JoinSet::new();
    tasks.spawn(proxy(listener, target, open.subscribe()));

    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let mut hints = delivery.hints();
    let entry = entry();
    delivery.enqueue(std::slice::from_ref(&entry), NOW).await.unwrap();
    assert!(matches!(hints.next().await, Hint::Ready(_)));

    open.send_replace(false);
    let error = delivery.generation().await.unwrap_err();
    assert!(error.to_string().contains("unavailable"), "{error}");
    open.send_replace(true);

    let patience = Duration::from_secs(10);
    // Another test's flush of the scripts repeats the enqueue, and with it the hint.
    while tokio::time::timeout(patience, hints.next()).await.unwrap() != Hint::Missed {}
    let working = async {
        while delivery.generation().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, working).await.unwrap();
    assert_eq!(take(&delivery, &entry).await.unwrap(), [entry]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    for url in [format!("redis://{free}"), "http://no.redis".to_owned()] {
        let refused = RedisDelivery::connect(&RedisOptions::new(&url)).await;
        assert!(refused.is_err(), "{url}");
    }
}

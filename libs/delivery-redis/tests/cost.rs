//! What a backlog costs: memory by the entry, which comes back; and work that does not grow with it. Counted by a server that
//! nobody else uses, and never timed.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use redis::{AsyncCommands, aio::MultiplexedConnection};
use support::Server;
use tidegate_delivery::{
    Delivery, Entry, EntryId, Function, Held, Labels, Lease, QueueId, Requirements, Want,
};
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_model::{Epoch, Namespace, QueueName, RunId, Timestamp, limits::MAX_BATCH_SIZE};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const LONG: Duration = Duration::from_secs(600);
/// A million entries are to fit into 150 MiB.
const MAX_BYTES_OF_ENTRY: u64 = 150 << 20;
const MILLION: u64 = 1_000_000;

fn entry(key: Option<&str>) -> Entry {
    let id = EntryId {
        queue: QueueId { namespace: Namespace::default(), queue: QueueName::default() },
        function: Function::Task("resize_image".parse().unwrap()),
        requires: Requirements::default(),
        fairness_key: key.map(|key| key.parse().unwrap()),
        run_id: RunId::new(),
        epoch: Epoch(0),
    };
    Entry { id, priority: 0, due_at: NOW, prefers: None }
}

async fn enqueue(delivery: &RedisDelivery, n: usize, key: Option<&str>) {
    for _ in 0..n / MAX_BATCH_SIZE {
        let batch: Vec<_> = (0..MAX_BATCH_SIZE).map(|_| entry(key)).collect();
        delivery.enqueue(&batch, NOW).await.unwrap();
    }
}

async fn take(delivery: &RedisDelivery, limit: usize) -> Vec<Entry> {
    let Entry { id, .. } = entry(None);
    let (functions, labels) = ([id.function], Labels::new());
    let want =
        Want { queue: &id.queue, functions: &functions, labels: &labels, limit, now: NOW, claim_lease: LONG };
    delivery.take(want).await.unwrap().entries
}

/// A run's whole way through the queue: it is taken and claimed, leased and then over.
async fn deliver_one(delivery: &RedisDelivery) {
    let [entry] = take(delivery, 1).await.try_into().unwrap();
    let held = Held { run_id: entry.id.run_id, epoch: Epoch(1) };
    let worker_id = "w".parse().unwrap();
    let lease = Lease { held, namespace: Namespace::default(), worker_id };
    delivery.lease(&[lease], LONG).await.unwrap();
    delivery.forget(&[entry.id]).await.unwrap();
    delivery.release(&[held]).await.unwrap();
}

/// How often each command was called, also by scripts, for ten runs on their way.
async fn calls_for_ten(
    delivery: &RedisDelivery,
    connection: &mut MultiplexedConnection,
) -> BTreeMap<String, u64> {
    deliver_one(delivery).await; // what is looked for once, as scripts are
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(connection).await.unwrap();
    for _ in 0..10 {
        deliver_one(delivery).await;
    }
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let calls = info.lines().filter_map(|line| {
        let (command, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let ours = !["config|resetstat", "info", "ping"].contains(&command);
        ours.then(|| (command.to_owned(), stats.split(',').next().unwrap().parse().unwrap()))
    });
    calls.collect()
}

async fn bytes(connection: &mut MultiplexedConnection) -> u64 {
    let keys: Vec<Vec<u8>> = connection.keys("*").await.unwrap();
    let mut sum = 0;
    for key in keys {
        let usage = redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(1_000).to_owned();
        let of_key: Option<u64> = usage.query_async(connection).await.unwrap();
        sum += of_key.unwrap_or(0);
    }
    sum
}

#[tokio::test]
async fn a_backlog_of_a_hundred_thousand_costs_its_entries_memory_and_nothing_else() {
    const FEW: usize = 1_000;
    // With a key, too, but not as many: it is by the same scripts.
    for (key, many) in [(None, 100_000), (Some("customer-1234567"), 10_000)] {
        let server = Server::start().await;
        let mut connection = server.connect().await.unwrap();
        let delivery = RedisDelivery::connect(&RedisOptions::new(&server.url())).await.unwrap();
        enqueue(&delivery, FEW, key).await;
        let at_few = calls_for_ten(&delivery, &mut connection).await;
        let (before, n_before) = (bytes(&mut connection).await, FEW as u64 - 11);

        enqueue(&delivery, many, key).await;
        let per_entry = (bytes(&mut connection).await - before) / many as u64;
        println!("{key:?}: {per_entry} bytes for an entry; {at_few:?} for ten runs");
        assert!(per_entry * MILLION < MAX_BYTES_OF_ENTRY, "{key:?}: {per_entry} bytes for an entry");
        let at_many = calls_for_ten(&delivery, &mut connection).await;
        assert_eq!(at_many, at_few, "{key:?}: a longer queue makes no run dearer");

        let mut n_left = n_before + many as u64 - 11;
        while n_left > 0 {
            let taken = take(&delivery, MAX_BATCH_SIZE).await;
            assert!(!taken.is_empty(), "{n_left} are left");
            let ids: Vec<_> = taken.into_iter().map(|entry| entry.id).collect();
            delivery.forget(&ids).await.unwrap();
            n_left -= ids.len() as u64;
        }
        // The name of the queue, for an hour.
        let left = bytes(&mut connection).await;
        assert!(left < 1_024, "{key:?}: {left} bytes are left of what is over");
    }
}

//! What the adapter does when Redis forgets its scripts, goes away, becomes a replica, was never there, is too old, holds
//! what we have not written, or holds too much to look at.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::{collections::HashSet, error::Error as _, time::Duration};

use support::Server;
use tidegate_delivery::{Delivery, Entry, EntryId, Function, Hint, Labels, QueueId, Requirements, Want};
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tidegate_model::{Epoch, Namespace, QueueName, RunId, Timestamp};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn entry() -> Entry {
    let queue = QueueId { namespace: Namespace::default(), queue: QueueName::default() };
    let function = Function::Task("f".parse().unwrap());
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

/// Carries connections to where `target` leads when they come, and cuts all of them when it leads nowhere.
async fn proxy(listener: TcpListener, mut target: watch::Receiver<Option<String>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut near, _) = accepted.unwrap();
                let Some(target) = target.borrow().clone() else { continue };
                connections.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
            _ = target.changed() => if target.borrow().is_none() { connections.abort_all() },
        }
    }
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let options = support::options();
    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let mut connection = support::connect(&options.url).await.unwrap();
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
    let to = watch::Sender::new(Some(target.clone()));
    let mut tasks = JoinSet::new();
    tasks.spawn(proxy(listener, to.subscribe()));

    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let mut hints = delivery.hints();
    let entry = entry();
    delivery.enqueue(std::slice::from_ref(&entry), NOW).await.unwrap();
    assert!(matches!(hints.next().await, Hint::Ready(_)));

    to.send_replace(None);
    let error = delivery.generation().await.unwrap_err();
    assert!(error.to_string().contains("unavailable"), "{error}");
    to.send_replace(Some(target));

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

/// A failover that breaks no connection: the server is there, and refuses what writes.
#[tokio::test]
async fn a_server_that_became_a_replica_is_left_for_the_one_that_took_over() {
    let (old, new) = (Server::start().await, Server::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = RedisOptions::new(&format!("redis://{}", listener.local_addr().unwrap()));
    let to = watch::Sender::new(Some(old.address()));
    let mut tasks = JoinSet::new();
    tasks.spawn(proxy(listener, to.subscribe()));
    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let mut hints = delivery.hints();
    let (before, after) = (entry(), entry());
    delivery.enqueue(std::slice::from_ref(&before), NOW).await.unwrap();
    let first = delivery.generation().await.unwrap();

    new.follow(Some(&old)).await;
    new.until_caught_up().await;
    new.follow(None).await;
    to.send_replace(Some(new.address()));
    old.follow(Some(&new)).await;
    let refused = delivery.enqueue(std::slice::from_ref(&after), NOW).await.unwrap_err();
    let cause = refused.source().unwrap().to_string();
    assert!(cause.contains("Redis is a replica"), "{cause}");

    let patience = Duration::from_secs(30);
    let working = async {
        while delivery.enqueue(std::slice::from_ref(&after), NOW).await.is_err() {
            tokio::task::yield_now().await;
        }
        // Hints come from there, too.
        while hints.next().await != Hint::Missed {}
    };
    tokio::time::timeout(patience, working).await.unwrap();
    let second = delivery.generation().await.unwrap();
    assert!(second.born_at > first.born_at, "what the old one was told last may be lost");
    let direct = RedisDelivery::connect(&RedisOptions::new(&new.url())).await.unwrap();
    let taken = take(&direct, &before).await.unwrap();
    let taken: HashSet<RunId> = taken.iter().map(|entry| entry.id.run_id).collect();
    assert_eq!(taken, HashSet::from([before.id.run_id, after.id.run_id]));
}

/// Answers one client as a server does that does not know the flags of scripts.
async fn old_server(listener: TcpListener) {
    let (mut near, _) = listener.accept().await.unwrap();
    let (read, mut write) = near.split();
    let mut lines = BufReader::new(read).lines();
    let mut is_name_next = false;
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with('*') {
            is_name_next = true; // A command begins with the number of its words; each is a line behind its length.
        } else if is_name_next && !line.starts_with('$') {
            is_name_next = false;
            let answer = match line.as_str() {
                "SCRIPT" => "-ERR Error compiling script (new function): unexpected symbol near '#'\r\n",
                _ => "+OK\r\n",
            };
            write.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(old_server(listener));
    let refused = RedisDelivery::connect(&RedisOptions::new(&url)).await.err().unwrap().to_string();
    assert!(refused.contains("Redis 7.0 or newer"), "{refused}");
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

/// One of our keys of the queue of [`entry`].
fn key(options: &RedisOptions, like: &Entry, part: &str) -> String {
    format!("{{{}:{}}}:v1:{part}", options.prefix, like.id.queue)
}

#[tokio::test]
async fn turns_that_are_gone_are_made_again() {
    let options = support::options();
    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let mut connection = support::connect(&options.url).await.unwrap();
    let mut entries = Vec::new();
    for fairness_key in ["a", "b", "a", "b", "lost"] {
        let mut entry = entry();
        entry.id.fairness_key = Some(fairness_key.parse().unwrap());
        entries.push(entry);
    }
    delivery.enqueue(&entries, NOW).await.unwrap();
    let mut remove = async |part: &str| {
        redis::cmd("DEL").arg(key(&options, &entries[0], part)).exec_async(&mut connection).await.unwrap();
    };
    remove("turns").await;
    remove("group:task:f\nlost").await;
    delivery.forget(&[entries[0].id.clone()]).await.unwrap();
    remove("turns").await;
    let taken = take(&delivery, &entries[0]).await.unwrap();
    let taken: HashSet<RunId> = taken.iter().map(|entry| entry.id.run_id).collect();
    assert_eq!(taken, entries[1..4].iter().map(|entry| entry.id.run_id).collect());

    let mut again = entry();
    again.id.fairness_key = Some("lost".parse().unwrap());
    delivery.enqueue(std::slice::from_ref(&again), NOW).await.unwrap();
    assert_eq!(take(&delivery, &again).await.unwrap(), [again]);
}

#[tokio::test]
async fn what_is_no_entry_is_dropped() {
    let options = support::options();
    let delivery = RedisDelivery::connect(&options).await.unwrap();
    let mut connection = support::connect(&options.url).await.unwrap();
    let entry = entry();
    delivery.enqueue(std::slice::from_ref(&entry), NOW).await.unwrap();
    for part in ["ready:task:f", "delayed:task:f"] {
        let mut add = redis::cmd("ZADD");
        add.arg(key(&options, &entry, part)).arg(0).arg("no run id").arg(1).arg(&b"no \xff"[..]);
        add.exec_async(&mut connection).await.unwrap();
    }
    assert_eq!(take(&delivery, &entry).await.unwrap(), std::slice::from_ref(&entry));
    delivery.forget(std::slice::from_ref(&entry.id)).await.unwrap();
    assert_eq!(take(&delivery, &entry).await.unwrap(), []);
    assert_eq!(support::footprint(options).await, 0);
}

#[tokio::test]
async fn where_requirements_are_left_out_one_looks_again_soon() {
    let delivery = RedisDelivery::connect(&support::options()).await.unwrap();
    let like = entry();
    let labels =
        |host: &str| Labels::from([("gpu", "true"), ("host", host)].map(|(k, v)| (k.into(), v.into())));
    let mut entries = Vec::new();
    for n in 0..300 {
        let mut entry = entry();
        entry.id.requires = Requirements::new(&labels(&format!("h{n}")));
        entries.push(entry);
    }
    delivery.enqueue(&entries, NOW).await.unwrap();
    let (functions, labels) = ([like.id.function.clone()], labels("mine"));
    let claim_lease = Duration::from_secs(60);
    let want = Want {
        queue: &like.id.queue,
        functions: &functions,
        labels: &labels,
        limit: 10,
        now: NOW,
        claim_lease,
    };
    let taken = delivery.take(want).await.unwrap();
    assert_eq!((taken.entries, taken.next_in), (Vec::new(), Some(Duration::from_secs(1))));
}

/// It may have lost the last of what it was told, though it has what it was told before.
#[tokio::test]
async fn a_server_that_was_started_anew_is_a_new_generation_with_whatever_data() {
    let mut server = Server::start().await;
    let delivery = RedisDelivery::connect(&RedisOptions::new(&server.url())).await.unwrap();
    let first = delivery.generation().await.unwrap();
    let entry = entry();
    delivery.enqueue(std::slice::from_ref(&entry), NOW).await.unwrap();
    let mut connection = server.connect().await.unwrap();
    redis::cmd("SAVE").exec_async(&mut connection).await.unwrap();
    let again = delivery.generation().await.unwrap();
    assert_eq!(again.born_at, first.born_at);
    assert!(again.age > first.age);

    server.kill_and_restart().await;
    let working = async {
        loop {
            match delivery.generation().await {
                Ok(generation) => return generation,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(30), working).await.unwrap();
    assert!(second.born_at > again.born_at + again.age, "{second:?} after {again:?}");
    assert_eq!(delivery.generation().await.unwrap().born_at, second.born_at);
    assert_eq!(take(&delivery, &entry).await.unwrap(), [entry]);
}

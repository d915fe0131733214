use std::time::Duration;

use tidegate_model::{
    Namespace, Worker, WorkerAbout, WorkerEnd, WorkerId, WorkerLoad,
    limits::{MAX_BATCH_SIZE, MAX_TOLD_WORKERS},
};

use super::support::{Fixture, LONG, SHORT, at, eventually, labels};
use crate::{Delivery, DrainHint, Hint, WorkerNews, WorkerQuery, WorkerTerms};

const TERMS: WorkerTerms = WorkerTerms { live_for: LONG, kept_for: LONG };

fn id(text: &str) -> WorkerId {
    text.parse().expect("a worker id")
}

fn news(worker_id: &str) -> WorkerNews {
    WorkerNews {
        namespace: Namespace::default(),
        worker_id: id(worker_id),
        stream: format!("the stream of {worker_id}"),
        opened_at: at(1),
        about: WorkerAbout::default(),
        load: WorkerLoad {
            last_seen_at: at(2),
            n_free_task_slots: 0,
            n_free_flow_slots: 0,
            n_runs: 0,
            is_draining: false,
        },
        end: None,
    }
}

/// The same worker, on a stream that was opened later.
fn moved(news: &WorkerNews, stream: &str, seconds: i64) -> WorkerNews {
    WorkerNews { stream: stream.to_owned(), opened_at: at(seconds), ..news.clone() }
}

fn of_pool(worker_id: &str, work_pool: &str) -> WorkerNews {
    let work_pool = Some(work_pool.parse().expect("a work pool's name"));
    WorkerNews { about: WorkerAbout { work_pool, ..WorkerAbout::default() }, ..news(worker_id) }
}

async fn tell(delivery: &dyn Delivery, news: &WorkerNews) -> bool {
    let asked = delivery.tell_workers(std::slice::from_ref(news), TERMS).await.expect("tell of a worker");
    assert_eq!(asked.len(), 1);
    asked[0]
}

async fn all(delivery: &dyn Delivery) -> Vec<Worker> {
    let namespace = Namespace::default();
    let query = WorkerQuery { namespace: &namespace, work_pool: None, after: None, limit: MAX_BATCH_SIZE };
    delivery.workers(query).await.expect("list workers")
}

async fn only(delivery: &dyn Delivery) -> Worker {
    let [worker] = all(delivery).await.try_into().expect("one worker");
    worker
}

/// Those of another tenant are left out, and those of other pools where one is named.
pub async fn workers_are_listed_by_id_page_by_page(fixture: Fixture) {
    let elsewhere: Namespace = "elsewhere".parse().expect("a namespace");
    let told = [
        of_pool("w-b", "site"),
        news("w-a"),
        of_pool("w-ä", "site"),
        of_pool("w-c", "other"),
        WorkerNews { namespace: elsewhere.clone(), ..of_pool("w-d", "site") },
    ];
    let asked = fixture.delivery.tell_workers(&told, TERMS).await.expect("tell of workers");
    assert_eq!(asked, [false; 5]);
    let site = "site".parse().expect("a work pool's name");
    let list = async |namespace: &Namespace, of_site: bool, after: Option<&str>, limit| {
        let (work_pool, after) = (of_site.then_some(&site), after.map(id));
        let query = WorkerQuery { namespace, work_pool, after: after.as_ref(), limit };
        let found = fixture.other.workers(query).await.expect("list workers");
        found.into_iter().map(|worker| worker.id.to_string()).collect::<Vec<_>>()
    };
    let default = Namespace::default();
    assert_eq!(list(&default, false, None, 10).await, ["w-a", "w-b", "w-c", "w-ä"]);
    assert_eq!(list(&default, false, None, 2).await, ["w-a", "w-b"]);
    assert_eq!(list(&default, false, Some("w-b"), 10).await, ["w-c", "w-ä"]);
    assert_eq!(list(&default, true, None, 1).await, ["w-b"]);
    assert_eq!(list(&default, true, Some("w-b"), 1).await, ["w-ä"]);
    assert_eq!(list(&elsewhere, false, None, 10).await, ["w-d"]);
    assert_eq!(fixture.other.tell_workers(&[], TERMS).await.expect("tell of nobody"), Vec::<bool>::new());
}

/// Whatever characters it may have.
pub async fn all_that_is_told_of_a_worker_is_given_back(fixture: Fixture) {
    let mut told = news("häuschen: 1/2 \"w\"");
    told.about = WorkerAbout {
        name: "häuschen = 1".to_owned(),
        host: "node-1.example".to_owned(),
        process_id: u32::MAX,
        sdk: "tidegate-python/0.1.0".to_owned(),
        work_pool: Some("a.B-c_1".parse().expect("a work pool's name")),
        queues: ["z", "a"].map(|name| name.parse().expect("a queue's name")).to_vec(),
        n_functions: 3,
        labels: labels(&[("gpu", "a=100 "), ("empty", "")]),
        n_task_slots: 10_000,
        n_flow_slots: 4,
    };
    told.load = WorkerLoad {
        last_seen_at: at(7),
        n_free_task_slots: 5,
        n_free_flow_slots: 6,
        n_runs: 7,
        is_draining: true,
    };
    tell(&*fixture.delivery, &told).await;
    let expected = Worker {
        id: told.worker_id.clone(),
        about: told.about.clone(),
        load: told.load,
        came_at: told.opened_at,
        end: None,
    };
    assert_eq!(only(&*fixture.other).await, expected);
    // It came when it was first told of.
    tell(&*fixture.other, &moved(&told, "a later one", 30)).await;
    assert_eq!(only(&*fixture.other).await, expected);
}

/// In whatever order two replicas tell of them.
pub async fn of_the_streams_of_a_worker_the_latest_counts(fixture: Fixture) {
    let first = news("w");
    let second = WorkerNews { load: WorkerLoad { n_runs: 2, ..first.load }, ..moved(&first, "second", 5) };
    let end_of = |news: &WorkerNews, end| WorkerNews { end: Some(end), ..news.clone() };
    tell(&*fixture.delivery, &first).await;
    tell(&*fixture.other, &second).await;
    // The replica that it has left learns later that the stream is gone.
    tell(&*fixture.delivery, &first).await;
    tell(&*fixture.delivery, &end_of(&first, WorkerEnd::Lost)).await;
    let worker = only(&*fixture.delivery).await;
    assert_eq!((worker.end, worker.load.n_runs), (None, 2));

    tell(&*fixture.other, &end_of(&second, WorkerEnd::Drained)).await;
    for late in [&first, &second] {
        tell(&*fixture.delivery, late).await;
        assert_eq!(only(&*fixture.delivery).await.end, Some(WorkerEnd::Drained));
    }
    // One that comes back is live.
    tell(&*fixture.delivery, &moved(&first, "third", 6)).await;
    assert_eq!(only(&*fixture.delivery).await.end, None);
    tell(&*fixture.delivery, &end_of(&moved(&first, "third", 6), WorkerEnd::Left)).await;
    assert_eq!(only(&*fixture.delivery).await.end, Some(WorkerEnd::Left));
}

/// When its replica goes silent, and after a time.
pub async fn a_worker_is_lost_and_then_forgotten(fixture: Fixture) {
    let told = news("w");
    let terms = WorkerTerms { live_for: SHORT, kept_for: LONG };
    fixture.delivery.tell_workers(std::slice::from_ref(&told), terms).await.expect("tell of a worker");
    eventually("the loss of a worker", async || {
        (only(&*fixture.other).await.end == Some(WorkerEnd::Lost)).then_some(())
    })
    .await;
    assert!(!fixture.delivery.drain_worker(&told.namespace, &told.worker_id).await.expect("drain"));
    // Whoever tells of it next is right, also where its clock is behind.
    tell(&*fixture.delivery, &moved(&told, "of another clock", -100)).await;
    assert_eq!(only(&*fixture.other).await.end, None);

    let other = moved(&told, "the last", 9);
    let terms = WorkerTerms { live_for: SHORT, kept_for: SHORT };
    fixture.delivery.tell_workers(std::slice::from_ref(&other), terms).await.expect("tell of a worker");
    eventually("the end of all memory", async || all(&*fixture.other).await.is_empty().then_some(())).await;
}

/// Until the worker is gone; one that is unknown, or of another tenant, is told so.
pub async fn a_drain_is_kept_through_streams_and_reaches_every_replica(fixture: Fixture) {
    let told = news("w");
    let (mut near, mut far) = (fixture.delivery.hints(), fixture.other.hints());
    let drain = async |namespace: &str, worker_id: &str| {
        let namespace = namespace.parse().expect("a namespace");
        fixture.other.drain_worker(&namespace, &id(worker_id)).await.expect("drain")
    };
    assert!(!drain("default", "w").await);
    tell(&*fixture.delivery, &told).await;
    assert!(!drain("elsewhere", "w").await);
    assert!(!drain("default", "v").await);
    assert!(!tell(&*fixture.delivery, &told).await);
    for _ in 0..2 {
        assert!(drain("default", "w").await);
        let expected = DrainHint { namespace: told.namespace.clone(), worker_id: told.worker_id.clone() };
        for hints in [&mut near, &mut far] {
            let hint = tokio::time::timeout(Duration::from_secs(10), hints.next()).await.expect("a hint");
            assert_eq!(hint, Hint::Drain(expected.clone()));
        }
    }
    assert!(only(&*fixture.delivery).await.load.is_draining);
    assert!(tell(&*fixture.delivery, &told).await);
    let moved = moved(&told, "another stream", 5);
    assert!(tell(&*fixture.other, &moved).await);
    tell(&*fixture.other, &WorkerNews { end: Some(WorkerEnd::Drained), ..moved }).await;
    assert!(!drain("default", "w").await, "it has ended");
}

/// The others are forgotten, so that nothing grows without a bound.
pub async fn the_workers_heard_of_last_are_kept(fixture: Fixture) {
    let told: Vec<_> = (0..MAX_TOLD_WORKERS + 5).map(|number| news(&format!("w-{number:06}"))).collect();
    for told in told.chunks(MAX_BATCH_SIZE) {
        fixture.delivery.tell_workers(told, TERMS).await.expect("tell of workers");
    }
    let namespace = Namespace::default();
    let (mut n_known, mut after): (usize, Option<WorkerId>) = (0, None);
    loop {
        let limit = MAX_BATCH_SIZE;
        let query = WorkerQuery { namespace: &namespace, work_pool: None, after: after.as_ref(), limit };
        let page = fixture.other.workers(query).await.expect("list workers");
        n_known += page.len();
        match page.last() {
            Some(last) => after = Some(last.id.clone()),
            None => break,
        }
    }
    assert_eq!(n_known, MAX_TOLD_WORKERS);
    assert_eq!(after.expect("there are some"), told.last().expect("there are some").worker_id);
}

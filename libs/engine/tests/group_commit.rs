//! Group commit: what comes while a batch is written becomes the next batch, in bounded queues.

mod common;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use common::{Notes, task};
use futures::{FutureExt as _, future::BoxFuture, future::join_all};
use tidegate_engine::{Create, Created, Engine, EngineError, Options};
use tidegate_model::{ErrorCode, Payload, Reason, ServiceError as _, limits};
use tidegate_store::RunStore;
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{FaultyStore, ManualClock};
use tokio::{task::JoinSet, time::timeout};

const DEADLINE: Duration = Duration::from_secs(30);

/// An engine of one lane whose first batch, a single create, is held at its commit.
struct Held {
    engine: Engine,
    store: Arc<FaultyStore>,
    first: BoxFuture<'static, Result<Created, EngineError>>,
    _tasks: JoinSet<()>,
}

impl Held {
    async fn start(lane_capacity: usize) -> Self {
        let sqlite = Arc::new(SqliteStore::in_memory().await.expect("opens"));
        let store = Arc::new(FaultyStore::new(sqlite, 0.0));
        let options = Options {
            n_lanes: const { NonZeroUsize::new(1).expect("is not 0") },
            lane_capacity: NonZeroUsize::new(lane_capacity).expect("is not 0"),
            ..Options::default()
        };
        let port = Arc::clone(&store) as Arc<dyn RunStore>;
        let (engine, background) =
            Engine::new(port, Arc::new(Notes::default()), Arc::new(ManualClock::new()), options);
        let mut tasks = JoinSet::new();
        for (_, task) in background {
            tasks.spawn(task);
        }
        store.hold_commits();
        let first = engine.create(task()).boxed();
        let held = async {
            while store.n_commits() == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, held).await.expect("an idle lane writes at once, and alone");
        Self { engine, store, first, _tasks: tasks }
    }

    /// Lets everything go: the answers to `waiting`, and to the first.
    async fn release(
        self,
        waiting: Vec<impl Future<Output = Result<Created, EngineError>>>,
    ) -> Vec<Result<Created, EngineError>> {
        self.store.release_commits();
        let answers = timeout(DEADLINE, join_all(waiting)).await.expect("they are answered");
        let first = timeout(DEADLINE, self.first).await.expect("it is answered");
        assert!(first.expect("is created").created);
        answers
    }
}

#[tokio::test]
async fn what_comes_while_a_batch_is_written_is_one_transaction() {
    let held = Held::start(1_000).await;
    let store = Arc::clone(&held.store);
    let waiting: Vec<_> = (0..500).map(|_| held.engine.create(task())).collect();
    let answers = held.release(waiting).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|created| created.created)));
    assert_eq!(store.n_commits(), 2, "the first, and all that came meanwhile");
}

#[tokio::test]
async fn a_batch_has_a_largest_size() {
    let held = Held::start(3 * limits::MAX_BATCH_SIZE).await;
    let store = Arc::clone(&held.store);
    let waiting: Vec<_> = (0..2 * limits::MAX_BATCH_SIZE + 1).map(|_| held.engine.create(task())).collect();
    let answers = held.release(waiting).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(store.n_commits(), 4, "the first, two full ones and a rest");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let held = Held::start(10).await;
    let waiting: Vec<_> = (0..10).map(|_| held.engine.create(task())).collect();
    let refused = timeout(DEADLINE, held.engine.create(task())).await.expect("is answered at once");
    let error = refused.expect_err("there is no room");
    assert_eq!((error.code(), error.reason()), (ErrorCode::Exhausted, Reason::Overloaded));
    assert!(error.retry_after().is_some(), "{error}");
    let answers = held.release(waiting).await;
    assert!(answers.iter().all(Result::is_ok), "what was taken is done: {answers:?}");
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes_too() {
    const SIZE: usize = 2 << 20;
    let held = Held::start(10_000).await;
    let parameters = Payload::inline(vec![b'x'; SIZE]);
    let large = || Create { parameters: Some(parameters.clone()), ..task() };
    let mut waiting = Vec::new();
    let mut n_refused = 0;
    for _ in 0..200 {
        // An answer that is there at once is a refusal: nothing else can be answered while the commit is held.
        let mut create = Box::pin(held.engine.create(large()));
        match futures::poll!(&mut create) {
            std::task::Poll::Pending => waiting.push(create),
            std::task::Poll::Ready(refused) => {
                assert_eq!(refused.expect_err("is refused").reason(), Reason::Overloaded);
                n_refused += 1;
            }
        }
    }
    assert_eq!((waiting.len(), n_refused), (128, 72), "256 MiB wait");
    let small = held.engine.create(task()).now_or_never();
    assert!(small.is_none(), "what has no payload still finds room: {small:?}");
    drop(waiting);
    held.release(Vec::<std::future::Ready<_>>::new()).await;
}

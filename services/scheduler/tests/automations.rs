//! Automations that are carried out against a web server that answers in the ways that those do.
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prost::Message as _;
use tidegate_dispatch::GrpcDispatch;
use tidegate_engine::{Create, Engine, Operation, Options, SetAutomation};
use tidegate_model::{Clock, Namespace, QueueName, RunId, RunKind, limits};
use tidegate_orchestration::{Draft, Event, Holder, Placement, StateType};
use tidegate_proto::v1;
use tidegate_scheduler::automations;
use tidegate_service_kit::{Supervisor, channel};
use tidegate_store::{Automation, AutomationKey, Firing, RunStore, Trigger};
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::{ManualClock, WebRequest, WebServer};
use tidegate_webhook::{Allowed, Client};
use tidegate_wire::duration_to_proto;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const DAY: Duration = Duration::from_secs(86_400);
/// How long a firing is its scheduler's.
const LEASE: Duration = Duration::from_secs(60);

/// A store, and an api beside it, at a time that the test sets.
struct Bench {
    store: Arc<dyn RunStore>,
    clock: Arc<ManualClock>,
    engine: Engine,
    _tasks: Supervisor,
}

impl Bench {
    async fn new() -> Self {
        let store: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
        let (clock, tasks) = (Arc::new(ManualClock::new()), Supervisor::new());
        let engine = engine_on(&store, &clock, &tasks);
        Self { store, clock, engine, _tasks: tasks }
    }

    /// Starts a replica of the scheduler that has so long to stop.
    fn replica(&self, allowed: Allowed, grace: Duration) -> Supervisor {
        let tasks = Supervisor::with_grace(grace);
        self.spawn(&tasks, allowed, POLL);
        tasks
    }

    /// One that looks by itself once.
    fn scheduler_without_poll(&self) -> Supervisor {
        let tasks = Supervisor::with_grace(PATIENCE);
        self.spawn(&tasks, anywhere(), 100 * PATIENCE);
        tasks
    }

    fn spawn(&self, tasks: &Supervisor, allowed: Allowed, poll: Duration) {
        let engine = engine_on(&self.store, &self.clock, tasks);
        automations::spawn(tasks, engine, Client::new(allowed).unwrap(), poll);
    }

    /// One whose webhooks may go to this machine.
    fn scheduler(&self) -> Supervisor {
        self.replica(anywhere(), PATIENCE)
    }

    /// Has the server told of each crash for which the filter holds.
    async fn tell(&self, name: &str, server: &WebServer, filter: &str) -> AutomationKey {
        let webhook = v1::Webhook {
            url: server.url("/page?key=hunter2"),
            headers: [("Authorization".to_owned(), "Bearer abc".to_owned())].into(),
            signing_secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            timeout: Some(duration_to_proto(limits::MAX_WEBHOOK_TIMEOUT)),
        };
        let key = AutomationKey { namespace: Namespace::default(), name: name.parse().unwrap() };
        let trigger = Trigger {
            states: vec![StateType::Crashed],
            state_names: Vec::new(),
            filter: filter.to_owned(),
            each_attempt: false,
        };
        let set = SetAutomation {
            key: key.clone(),
            description: String::new(),
            trigger,
            action: webhook.encode_to_vec().into(),
            overwrite: false,
            seen: None,
            request_id: None,
        };
        assert!(self.engine.set_automation(&set).await.unwrap().1);
        key
    }

    /// A run whose process goes away, for good.
    async fn crash(&self, tag: &str) -> RunId {
        let queue = Placement::Queue(QueueName::default());
        let mut draft = Draft::new(RunId::new(), RunKind::Flow, "nightly".parse().unwrap(), queue);
        draft.tags = vec![tag.to_owned()];
        draft.policies.crash.max_crashes = 0;
        let create = Create {
            draft,
            parameters: None,
            params_hash: [0; 32],
            idempotency_key: None,
            use_existing: false,
            refresh_cache: false,
            schedule: None,
            is_child_call: false,
            parent_epoch: None,
            actor: None,
            job: None,
            deploy: None,
        };
        let run = self.engine.create(create).await.unwrap().run;
        let (namespace, run_id) = (run.namespace, run.id);
        let holder = Holder::Worker("w".parse().unwrap());
        let claim = Operation::Claim { namespace: namespace.clone(), run_id, epoch: run.epoch, holder };
        let epoch = self.engine.operate(claim).await.unwrap().run.epoch;
        for event in [Event::Started, Event::Crashed { cause: "lease lost: w".to_owned() }] {
            let namespace = namespace.clone();
            let report =
                Operation::Report { namespace, run_id, epoch, event, happened_at: None, result: None };
            self.engine.operate(report).await.unwrap();
        }
        run_id
    }

    async fn automation(&self, key: &AutomationKey) -> Automation {
        self.engine.get_automation(key).await.unwrap()
    }

    async fn firings(&self, key: &AutomationKey) -> Vec<Firing> {
        self.engine.list_firings(key, None, 1_000).await.unwrap()
    }

    /// The only firing of an automation, once it is as `is` wants it.
    async fn firing(&self, what: &str, key: &AutomationKey, is: impl Fn(&Firing) -> bool) -> Firing {
        until(what, async || self.firings(key).await.into_iter().next().filter(|firing| is(firing))).await
    }

    /// How it went, once nothing is left to do.
    async fn done(&self, key: &AutomationKey) -> Automation {
        until("nothing is left to do", async || self.firings(key).await.is_empty().then_some(())).await;
        self.automation(key).await
    }
}

fn anywhere() -> Allowed {
    Allowed { private_addresses: true, http: true, hosts: Vec::new() }
}

fn engine_on(store: &Arc<dyn RunStore>, clock: &Arc<ManualClock>, tasks: &Supervisor) -> Engine {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let nowhere = channel("http://127.0.0.1:1").unwrap();
    let dispatch = Arc::new(GrpcDispatch::new(nowhere, Arc::clone(&clock)));
    let (engine, background) = Engine::new(Arc::clone(store), dispatch, clock, Options::default());
    for (name, task) in background {
        tasks.essential(name, |_stop| async {
            task.await;
            Ok(())
        });
    }
    engine
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// The names of the messages.
fn ids(seen: &[WebRequest]) -> Vec<&str> {
    seen.iter().map(|request| request.headers["webhook-id"].as_str()).collect()
}

#[tokio::test]
async fn what_set_it_off_is_told_once_and_what_does_not_match_never() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    let key = bench.tell("page-me", &server, r#"tags:"nightly""#).await;
    let nightly = bench.crash("nightly").await;
    bench.crash("daily").await;
    let _scheduler = bench.scheduler();
    let automation = bench.done(&key).await;
    assert_eq!((automation.record.n_succeeded, automation.record.n_given_up), (1, 0));
    assert_eq!(automation.record.last_succeeded_at, Some(bench.clock.now()));

    let seen = server.seen();
    let [request] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(request.target, "POST /page?key=hunter2");
    assert_eq!(request.headers["authorization"], "Bearer abc");
    assert!(request.headers["webhook-id"].starts_with(&format!("msg_{nightly}_")), "{request:?}");
    assert!(request.headers["webhook-signature"].starts_with("v1,"), "{request:?}");
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["data"]["run"]["id"], nightly.to_string());
    assert_eq!(body["data"]["event"]["state"], "CRASHED");
}

#[tokio::test]
async fn a_commit_has_it_told_long_before_the_next_look() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    bench.tell("page-me", &server, "").await;
    let _scheduler = bench.scheduler_without_poll();
    // The first look may have found the first of them.
    for n in 1..=3 {
        bench.crash("nightly").await;
        server.until_seen(n).await;
    }
}

/// Filters are asked of a thousand at once.
#[tokio::test]
async fn many_that_do_not_match_hold_up_none_that_does() {
    let (bench, server) = (Arc::new(Bench::new().await), WebServer::start().await);
    let key = bench.tell("page-me", &server, r#"tags:"nightly""#).await;
    let mut crashes = JoinSet::new();
    for _ in 0..1_000 {
        let bench = Arc::clone(&bench);
        crashes.spawn(async move { bench.crash("daily").await });
    }
    crashes.join_all().await;
    let nightly = bench.crash("nightly").await;
    let _scheduler = bench.scheduler_without_poll();
    let seen = server.until_seen(1).await;
    assert!(ids(&seen)[0].contains(&nightly.to_string()), "{seen:?}");
    assert_eq!(bench.done(&key).await.record.n_succeeded, 1);
}

#[tokio::test]
async fn who_cannot_take_it_now_is_told_again_by_the_same_message() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    server.answer("503 Service Unavailable", "out of paper");
    let key = bench.tell("page-me", &server, "").await;
    let _scheduler = bench.scheduler();
    bench.crash("nightly").await;
    let firing = bench.firing("a try has failed", &key, |firing| !firing.last_error.is_empty()).await;
    let told = "the server answered 503 Service Unavailable: out of paper";
    assert_eq!((firing.n_tries, firing.is_given_up, firing.last_error.as_str()), (1, false, told));
    let wait = firing.due_at.since(bench.clock.now());
    assert!((Duration::from_secs(4)..=Duration::from_secs(6)).contains(&wait), "{wait:?}");
    assert_eq!(bench.automation(&key).await.record.last_error, told);

    server.answer("200 OK", "");
    bench.clock.advance(Duration::from_secs(7));
    let record = bench.done(&key).await.record;
    assert_eq!((record.n_succeeded, record.n_given_up, record.last_error.as_str()), (1, 0, ""));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(ids(&seen)[0], ids(&seen)[1]);
    assert_eq!(seen[0].body, seen[1].body);
    let sent_at = |idx: usize| seen[idx].headers["webhook-timestamp"].parse::<i64>().unwrap();
    assert_eq!(sent_at(1) - sent_at(0), 7);
}

#[tokio::test]
async fn what_cannot_succeed_is_given_up_and_forgotten_after_a_week() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    server.answer("410 Gone", "");
    let key = bench.tell("page-me", &server, "").await;
    let _scheduler = bench.scheduler();
    bench.crash("nightly").await;
    let firing = bench.firing("it is given up", &key, |firing| firing.is_given_up).await;
    assert_eq!((firing.n_tries, firing.last_error.as_str()), (1, "the server answered 410 Gone"));
    let record = bench.automation(&key).await.record;
    assert_eq!((record.n_succeeded, record.n_given_up), (0, 1));
    bench.clock.advance(7 * DAY);
    assert_eq!(bench.engine.purge_firings(10).await.unwrap(), 0);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.engine.purge_firings(10).await.unwrap(), 1);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn who_does_not_answer_for_a_day_is_given_up() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    server.answer("500 Internal Server Error", "");
    let key = bench.tell("page-me", &server, "").await;
    let _scheduler = bench.scheduler();
    bench.crash("nightly").await;
    bench.firing("a try has failed", &key, |firing| !firing.last_error.is_empty()).await;
    bench.clock.advance(DAY - Duration::from_secs(1));
    // The wait would be longer than the rest of the day, at the end of which is the last try.
    let last = bench.firing("a second try", &key, |firing| firing.due_at == firing.at + DAY).await;
    assert_eq!((last.n_tries, server.seen().len()), (2, 2));
    bench.clock.advance(Duration::from_secs(1));
    let firing = bench.firing("it is given up", &key, |firing| firing.is_given_up).await;
    assert_eq!((firing.n_tries, server.seen().len()), (3, 3));
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_up_no_other() {
    const N_CRASHES: usize = 40;
    let (bench, dead, well) = (Bench::new().await, WebServer::start().await, WebServer::start().await);
    dead.hold();
    let held = bench.tell("dead", &dead, "").await;
    let told = bench.tell("well", &well, "").await;
    for _ in 0..N_CRASHES {
        bench.crash("nightly").await;
    }
    let _scheduler = bench.scheduler();
    assert_eq!(bench.done(&told).await.record.n_succeeded, N_CRASHES as u64);
    // A quarter of what goes on at once is its share. It would have to time out first.
    let seen = dead.until_seen(16).await;
    assert_eq!((seen.len(), bench.firings(&held).await.len()), (16, N_CRASHES));
}

#[tokio::test]
async fn of_two_schedulers_one_carries_it_out() {
    // More than one of them has places for, and as many as two have: each takes more while it has up to eight.
    const N_CRASHES: usize = 18;
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    server.hold();
    let key = bench.tell("page-me", &server, "").await;
    let _schedulers = [bench.scheduler(), bench.scheduler()];
    for _ in 0..N_CRASHES {
        bench.crash("nightly").await;
    }
    server.until_seen(N_CRASHES).await;
    server.answer("200 OK", "");
    assert_eq!(bench.done(&key).await.record.n_succeeded, N_CRASHES as u64);
    let seen = server.seen();
    let ids = ids(&seen);
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>().len()), (N_CRASHES, N_CRASHES));
}

#[tokio::test]
async fn a_stop_waits_for_what_is_under_way() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    server.hold();
    let key = bench.tell("page-me", &server, "").await;
    let scheduler = bench.scheduler();
    bench.crash("nightly").await;
    server.until_seen(1).await;
    scheduler.stop();
    bench.crash("nightly").await;
    server.answer("200 OK", "");
    scheduler.finished(PATIENCE).await.unwrap();
    assert_eq!(bench.automation(&key).await.record.n_succeeded, 1);
    let left = bench.firings(&key).await;
    assert_eq!((left.len(), left[0].n_tries), (1, 0), "none is begun after the stop");
}

#[tokio::test]
async fn what_cannot_end_by_the_stop_is_told_again_by_another_after_its_lease() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    server.hold();
    let key = bench.tell("page-me", &server, "").await;
    let scheduler = bench.replica(anywhere(), Duration::from_millis(500));
    bench.crash("nightly").await;
    server.until_seen(1).await;
    scheduler.stop();
    scheduler.finished(PATIENCE).await.unwrap();
    let left = bench.firings(&key).await;
    let [firing] = &left[..] else { panic!("{left:?}") };
    assert_eq!((firing.n_tries, firing.last_error.as_str()), (1, ""));
    assert_eq!(firing.due_at, bench.clock.now() + LEASE);

    server.answer("200 OK", "");
    let _other = bench.scheduler();
    bench.clock.advance(LEASE);
    assert_eq!(bench.done(&key).await.record.n_succeeded, 1);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(ids(&seen)[0], ids(&seen)[1]);
}

#[tokio::test]
async fn a_webhook_to_where_it_may_not_go_is_given_up() {
    let (bench, server) = (Bench::new().await, WebServer::start().await);
    let key = bench.tell("page-me", &server, "").await;
    let _scheduler = bench.replica(Allowed { http: true, ..Allowed::default() }, PATIENCE);
    bench.crash("nightly").await;
    let firing = bench.firing("it is given up", &key, |firing| firing.is_given_up).await;
    assert!(firing.last_error.contains("127.0.0.1 is not a public address"), "{firing:?}");
    assert!(!firing.last_error.contains("hunter2"), "{firing:?}");
    assert!(server.seen().is_empty());
}

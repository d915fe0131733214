//! What becomes of a server that refuses, breaks off, or is shared.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt as _;
use sqlx::{Connection, PgConnection};
use tidegate_model::{Namespace, SessionId};
use tidegate_store::{
    RunStore, Session, StoreError,
    conformance::fixture::{T0, append, event, get, insert, is_waiting, queued, within},
};
use tidegate_store_postgres::{OpenError, PgOptions, PgStore, testing::Database};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

async fn open(database: &Database) -> Arc<dyn RunStore> {
    Arc::new(PgStore::connect(database.url(), &PgOptions::default()).await.expect("the database opens"))
}

async fn refused(url: &str) -> OpenError {
    let options = PgOptions { acquire_timeout: Duration::from_secs(5), ..PgOptions::default() };
    PgStore::connect(url, &options).await.expect_err("the database cannot be used")
}

/// The URL with other login data.
fn login(database: &Database, user: &str) -> String {
    let (_, host) = database.url().split_once('@').expect("the URL names a user");
    format!("postgres://{user}@{host}")
}

#[tokio::test]
async fn processes_that_migrate_at_once_wait_for_each_other() {
    let database = Database::create().await;
    let stores = futures::future::join_all((0..4).map(|_| open(&database))).await;
    let run = queued();
    insert(&stores[0], &[&run]).await;
    assert_eq!(get(&stores[3], run.id).await, run);
    assert!(stores[3].schema_version() >= 1);
    drop(stores);
    database.remove().await;
}

#[tokio::test]
async fn a_commit_of_another_process_wakes() {
    let database = Database::create().await;
    let (here, there) = (open(&database).await, open(&database).await);
    let mut commits = here.commits();
    let run = queued();
    let start = here.feed_end().await.unwrap();
    append(&there, &[event(&run, 1)]).await;
    within(async {
        while here.read_feed(&start, None, 1).await.unwrap().is_empty() {
            commits.changed().await.unwrap();
        }
    })
    .await;
    drop((here, there));
    database.remove().await;
}

#[tokio::test]
async fn broken_connections_are_told_and_replaced() {
    let database = Database::create().await;
    let store = open(&database).await;
    let run = queued();
    insert(&store, &[&run]).await;
    let mut commits = store.commits();
    let mut tx = store.begin().await.unwrap();
    tx.lock_runs(&[run.id]).await.unwrap();
    commits.mark_unchanged();
    let name = database.url().rsplit_once('/').unwrap().1.split('?').next().unwrap();
    database
        .execute(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        .await;

    let lost = tx.lock_runs(&[run.id]).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    drop(tx);
    // The listener is back, and tells that something may have been missed.
    within(commits.changed()).await.unwrap();
    // Each broken connection of the pool fails at most once.
    within(async { while store.get_runs(None, &[run.id]).await.is_err() {} }).await;
    assert_eq!(get(&store, run.id).await, run);
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn a_server_that_hangs_up_on_new_connections_is_unavailable() {
    let database = Database::create().await;
    let (server, name) = database.url().rsplit_once('/').unwrap();
    let (login, server) = server.split_once('@').unwrap();
    let way = Way::to(server.parse().unwrap()).await;
    let url = format!("{login}@{}/{name}", way.address);
    let store = PgStore::connect(&url, &PgOptions::default()).await.unwrap();
    way.is_open.send_replace(false);
    let refused = store.begin().await.map(drop);
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    way.is_open.send_replace(true);
    within(async { while store.begin().await.is_err() {} }).await;
    drop((store, way));
    database.remove().await;
}

#[tokio::test]
async fn what_follows_a_caller_who_left_at_once_is_kept() {
    let database = Database::create().await;
    let options = PgOptions { max_connections: 1, ..PgOptions::default() };
    let store: Arc<dyn RunStore> = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
    let session = |_| Session {
        id: SessionId::new(),
        namespace: Namespace::default(),
        identity: "host:1".to_owned(),
        expires_at: T0,
    };
    let sessions: Vec<Session> = (0..20).map(session).collect();
    for session in &sessions {
        assert!(store.begin().now_or_never().is_none(), "it has begun before the server can have answered");
        assert!(store.put_session(session).await.unwrap());
    }

    let elsewhere = open(&database).await;
    let ids: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
    let mut tx = elsewhere.begin().await.unwrap();
    let kept = tx.live_sessions(&ids, T0 - Duration::from_secs(1)).await.unwrap();
    assert_eq!(kept.len(), ids.len());
    drop((tx, store, elsewhere));
    database.remove().await;
}

/// A proxy that, while it is not open, accepts connections and ends them.
struct Way {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    _server: JoinSet<()>,
}

impl Way {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let is_open = watch::Sender::new(true);
        let mut open = is_open.subscribe();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    changed = open.changed() => match changed {
                        Ok(()) => connections.abort_all(),
                        Err(_) => return,
                    },
                    accepted = listener.accept() => {
                        let (mut client, _) = accepted.expect("a connection");
                        if *open.borrow() {
                            connections.spawn(async move {
                                let mut server = TcpStream::connect(server).await.expect("the server");
                                let _ = copy_bidirectional(&mut client, &mut server).await;
                            });
                        }
                    }
                }
            }
        });
        Self { address, is_open, _server: serving }
    }
}

#[tokio::test]
async fn a_commit_on_a_broken_connection_is_unknown() {
    let database = Database::create().await;
    let store = open(&database).await;
    let mut tx = store.begin().await.unwrap();
    tx.append_events(&[event(&queued(), 1)]).await.unwrap();
    let name = database.url().rsplit_once('/').unwrap().1.split('?').next().unwrap();
    database
        .execute(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        .await;
    let lost = tx.commit().await;
    assert!(matches!(lost, Err(StoreError::CommitUnknown(_))), "{lost:?}");
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn a_lock_that_is_held_for_long_is_given_up() {
    let database = Database::create().await;
    let options = PgOptions { lock_timeout: Duration::from_millis(100), ..PgOptions::default() };
    let store: Arc<dyn RunStore> = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
    let run = queued();
    insert(&store, &[&run]).await;
    let mut first = store.begin().await.unwrap();
    first.lock_runs(&[run.id]).await.unwrap();
    let mut second = store.begin().await.unwrap();
    let given_up = second.lock_runs(&[run.id]).await;
    assert!(matches!(given_up, Err(StoreError::Unavailable(_))), "{given_up:?}");
    first.update_runs(&[(run, Some(T0))]).await.unwrap();
    first.commit().await.unwrap();
    drop((second, store));
    database.remove().await;
}

#[tokio::test]
async fn a_change_of_a_queue_that_nobody_waits_for_any_more_holds_up_no_claim() {
    let database = Database::create().await;
    let options = PgOptions { max_connections: 2, ..PgOptions::default() };
    let store: Arc<dyn RunStore> = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
    let own = BTreeSet::from([Namespace::default()]);
    let claims = store.begin_claims(&own).await.unwrap();
    let namespace = Namespace::default();
    let mut change = Box::pin(store.begin_queue_change(&namespace));
    assert!(is_waiting(&mut change).await);
    drop((change, claims));
    // On both connections, side by side.
    let claims = within(store.begin_claims(&own)).await.unwrap();
    let others = within(store.begin_claims(&own)).await.unwrap();
    drop((claims, others, store));
    database.remove().await;
}

#[tokio::test]
async fn a_change_of_a_queue_that_waited_in_vain_leaves_a_connection_that_works() {
    let database = Database::create().await;
    let options =
        PgOptions { max_connections: 2, lock_timeout: Duration::from_millis(100), ..PgOptions::default() };
    let store: Arc<dyn RunStore> = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
    let run = queued();
    insert(&store, &[&run]).await;
    let own = BTreeSet::from([Namespace::default()]);
    let claims = store.begin_claims(&own).await.unwrap();
    let refused = store.begin_queue_change(&Namespace::default()).await.map(drop);
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    // The other connection has the claims.
    assert_eq!(get(&store, run.id).await, run);
    drop(within(store.begin_claims(&own)).await.unwrap());
    drop(claims);
    within(store.begin_queue_change(&Namespace::default())).await.unwrap().commit().await.unwrap();
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn a_newer_schema_is_served_beside_newer_programs_and_refused_where_it_needs_them() {
    let database = Database::create().await;
    drop(open(&database).await);
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'later', TRUE, '\\x00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let store = open(&database).await;
    let run = queued();
    insert(&store, &[&run]).await;
    assert_eq!(get(&store, run.id).await, run);
    drop(store);
    sqlx::query("UPDATE schema_floor SET floor = 9000").execute(&mut connection).await.unwrap();
    let error = refused(database.url()).await;
    assert!(matches!(error, OpenError::NewerSchema { found: 9000, .. }), "{error:?}");
    database.remove().await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_and_no_password() {
    let database = Database::create().await;
    let role = database.url().rsplit_once('/').unwrap().1.split('?').next().unwrap();
    database.execute(format!("CREATE ROLE {role} LOGIN PASSWORD 'secret4711'")).await;

    let error = refused(&login(&database, &format!("{role}:secret4711"))).await;
    assert!(matches!(error, OpenError::MissingRights { .. }), "{error:?}");
    assert!(error.to_string().contains(role), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret4711"), "{error:?}");

    // A port that nothing listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refused(&format!("postgres://user:secret4711@127.0.0.1:{port}/tidegate")).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}/tidegate")), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret4711"), "{error:?}");

    let error = refused(&format!("{}_missing", database.url().split('?').next().unwrap())).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let error = refused("postgres://user:secret4711@host:port/x").await;
    assert!(matches!(error, OpenError::Url { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret4711"), "{error:?}");

    let (server, name) = (database.url().to_owned(), role.to_owned());
    database.remove().await;
    let (base, _) = server.rsplit_once('/').unwrap();
    let mut connection = PgConnection::connect(&format!("{base}/postgres")).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("DROP ROLE {name}"))).execute(&mut connection).await.unwrap();
}

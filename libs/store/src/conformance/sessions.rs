//! Sessions, and what is deleted when it is over.

use std::sync::Arc;

use tidegate_model::{Namespace, RunId, SessionId};
use tidegate_orchestration::{Holder, Phase};

use super::{cache::cached, fixture::*};
use crate::{KeyReservation, RunStore, Session};

fn session(seconds: u64) -> Session {
    Session {
        id: SessionId::new(),
        namespace: Namespace::default(),
        identity: "host 1, process 4711".to_owned(),
        expires_at: after(seconds),
    }
}

/// A session can be renewed until it is ended, also after it expired.
pub async fn a_session_lives_until_it_is_ended(store: Arc<dyn RunStore>) {
    let first = session(10);
    assert!(store.put_session(&first).await.unwrap());
    let renewed = Session { expires_at: after(20), ..first };
    assert!(store.put_session(&renewed).await.unwrap());
    store.end_session(&renewed.namespace, renewed.id).await.unwrap();
    let again = Session { expires_at: after(30), ..renewed };
    assert!(!store.put_session(&again).await.unwrap());
    store.end_session(&again.namespace, SessionId::new()).await.unwrap();
}

/// Of a session's runs those are found that are being cancelled.
pub async fn cancelling_runs_of_a_session_are_found(store: Arc<dyn RunStore>) {
    let (own, other) = (SessionId::new(), SessionId::new());
    let cancelling = |session| {
        let holder = Holder::Session(session);
        entered(&local(session), Phase::Cancelling { holder, close_at: after(1) }, T0)
    };
    let (first, second, stranger) = (cancelling(own), cancelling(own), cancelling(other));
    insert(&store, &[&first, &second, &stranger, &local(own)]).await;
    assert_eq!(store.cancelling_runs(own, 10).await.unwrap(), [first.clone(), second]);
    assert_eq!(store.cancelling_runs(own, 1).await.unwrap(), [first]);
}

/// Another namespace can neither renew nor end a session.
pub async fn a_session_belongs_to_its_namespace(store: Arc<dyn RunStore>) {
    let own = session(10);
    assert!(store.put_session(&own).await.unwrap());
    let other = Session { namespace: elsewhere(), ..own.clone() };
    assert!(!store.put_session(&other).await.unwrap());
    store.end_session(&other.namespace, own.id).await.unwrap();
    assert!(store.put_session(&own).await.unwrap());
}

/// Of several sessions those are told that are there and have not expired, each with its namespace.
pub async fn live_sessions_are_told_apart(store: Arc<dyn RunStore>) {
    let (alive, over) = (session(99), session(10));
    let other = Session { namespace: elsewhere(), ..session(99) };
    for session in [&alive, &over, &other] {
        assert!(store.put_session(session).await.unwrap());
    }
    let mut tx = store.begin().await.unwrap();
    let asked = [alive.id, over.id, other.id, SessionId::new()];
    let mut live = tx.live_sessions(&asked, after(10)).await.unwrap();
    live.sort_by_key(|(id, _)| *id);
    let mut expected = vec![(alive.id, alive.namespace), (other.id, other.namespace)];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(live, expected);
}

/// Purge deletes sessions that ended and have no open runs, and expired keys of both sorts, up to the limit.
pub async fn purge_takes_what_is_over(store: Arc<dyn RunStore>) {
    let (over, with_open_run, with_ended_run, alive) = (session(10), session(10), session(10), session(99));
    for session in [&over, &with_open_run, &with_ended_run, &alive] {
        assert!(store.put_session(session).await.unwrap());
    }
    let open = local(with_open_run.id);
    let ended = entered(&local(with_ended_run.id), Phase::Completed, T0);
    insert(&store, &[&open, &ended]).await;
    let key = |key: &str, seconds| KeyReservation {
        namespace: Namespace::default(),
        scope: "task:resize".to_owned(),
        key: key.to_owned(),
        run_id: RunId::new(),
        params_hash: [0; 32],
        expires_at: after(seconds),
    };
    let mut tx = store.begin().await.unwrap();
    tx.reserve_keys(&[key("a", 40), key("b", 40), key("c", 40), key("d", 60)], T0).await.unwrap();
    tx.put_cache_keys(&[cached("a", 40), cached("b", 60)]).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(store.purge(after(10), after(40), 100).await.unwrap(), 0, "the bounds are exclusive");
    assert_eq!(store.purge(after(11), after(50), 2).await.unwrap(), 5);
    assert_eq!(store.purge(after(11), after(50), 2).await.unwrap(), 1);
    assert_eq!(store.purge(after(11), after(50), 2).await.unwrap(), 0);
    // What is left: the session with an open run, the living one, the key that has not expired.
    // An id that is taken is refused to another namespace.
    for (session, is_left) in [(with_open_run, true), (alive, true), (over, false)] {
        let claimed = Session { namespace: elsewhere(), ..session };
        assert_eq!(store.put_session(&claimed).await.unwrap(), !is_left);
    }
    let mut tx = store.begin().await.unwrap();
    let taken = key("d", 60);
    assert_ne!(
        tx.reserve_keys(std::slice::from_ref(&taken), after(50)).await.unwrap()[0].run_id,
        taken.run_id
    );
}

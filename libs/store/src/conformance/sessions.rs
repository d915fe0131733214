//! Sessions, and what is deleted when it is over.

use std::sync::Arc;

use tidegate_model::{Namespace, RunId, SessionId};
use tidegate_orchestration::Phase;

use super::fixture::*;
use crate::{KeyReservation, RunStore, Session};

fn session(seconds: u64) -> Session {
    Session {
        id: SessionId::new(),
        namespace: Namespace::default(),
        identity: "host 1, process 4711".to_owned(),
        expires_at: after(seconds),
    }
}

/// A session can be renewed until it expires, and not after that.
pub async fn a_session_lives_until_it_expires(store: Arc<dyn RunStore>) {
    let first = session(10);
    assert!(store.put_session(&first, T0).await.unwrap());
    let renewed = Session { expires_at: after(20), ..first };
    assert!(store.put_session(&renewed, after(9)).await.unwrap());
    assert!(store.put_session(&renewed, after(19)).await.unwrap());
    let again = Session { expires_at: after(30), ..renewed };
    assert!(!store.put_session(&again, after(20)).await.unwrap());

    let ended = session(10);
    assert!(store.put_session(&ended, T0).await.unwrap());
    store.end_session(&ended.namespace, ended.id, after(5)).await.unwrap();
    assert!(!store.put_session(&ended, after(5)).await.unwrap());
    store.end_session(&ended.namespace, SessionId::new(), after(5)).await.unwrap();
}

/// Another namespace can neither renew nor end a session.
pub async fn a_session_belongs_to_its_namespace(store: Arc<dyn RunStore>) {
    let own = session(10);
    assert!(store.put_session(&own, T0).await.unwrap());
    let other = Session { namespace: elsewhere(), ..own.clone() };
    assert!(!store.put_session(&other, T0).await.unwrap());
    store.end_session(&other.namespace, own.id, T0).await.unwrap();
    assert!(store.put_session(&own, T0).await.unwrap());
}

/// Of several sessions those are told that are there and have not expired, each with its namespace.
pub async fn live_sessions_are_told_apart(store: Arc<dyn RunStore>) {
    let (alive, over) = (session(99), session(10));
    let other = Session { namespace: elsewhere(), ..session(99) };
    for session in [&alive, &over, &other] {
        assert!(store.put_session(session, T0).await.unwrap());
    }
    let mut tx = store.begin().await.unwrap();
    let asked = [alive.id, over.id, other.id, SessionId::new()];
    let mut live = tx.live_sessions(&asked, after(10)).await.unwrap();
    live.sort_by_key(|(id, _)| *id);
    let mut expected = vec![(alive.id, alive.namespace), (other.id, other.namespace)];
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(live, expected);
}

/// Purge deletes sessions that ended and have no open runs, and expired keys, up to the limit.
pub async fn purge_takes_what_is_over(store: Arc<dyn RunStore>) {
    let (over, with_open_run, with_ended_run, alive) = (session(10), session(10), session(10), session(99));
    for session in [&over, &with_open_run, &with_ended_run, &alive] {
        assert!(store.put_session(session, T0).await.unwrap());
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
    tx.commit().await.unwrap();

    assert_eq!(store.purge(after(10), after(40), 100).await.unwrap(), 0, "the bounds are exclusive");
    assert_eq!(store.purge(after(11), after(50), 2).await.unwrap(), 4);
    assert_eq!(store.purge(after(11), after(50), 2).await.unwrap(), 1);
    assert_eq!(store.purge(after(11), after(50), 2).await.unwrap(), 0);
    // What is left: the session with an open run, the living one, the key that has not expired.
    assert!(!store.put_session(&with_open_run, after(50)).await.unwrap());
    assert!(store.put_session(&alive, after(50)).await.unwrap());
    assert!(store.put_session(&Session { expires_at: after(99), ..over }, after(50)).await.unwrap());
    let mut tx = store.begin().await.unwrap();
    let taken = key("d", 60);
    assert_ne!(
        tx.reserve_keys(std::slice::from_ref(&taken), after(50)).await.unwrap()[0].run_id,
        taken.run_id
    );
}

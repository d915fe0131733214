//! The payloads of pauses.

use std::{slice::from_ref, sync::Arc};

use super::fixture::*;
use crate::{InputKind, InputQuery, RunInput, RunStore};

/// Questions and answers are read back by pause, of their run and namespace only; what is stored anew replaces.
pub async fn inputs_are_kept_by_pause(store: Arc<dyn RunStore>) {
    let (run, other) = (queued(), queued());
    insert(&store, &[&run, &other]).await;
    let input = |key: &str, kind, data: &'static [u8]| RunInput {
        run_id: run.id,
        key: key.to_owned(),
        kind,
        data: payload(data),
    };
    let asked = input("a", InputKind::Request, b"\x00 ask");
    let answered = input("a", InputKind::Input, b"yes");
    let second = input("b", InputKind::Request, b"more");
    let strangers = RunInput { run_id: other.id, ..second.clone() };
    let mut tx = store.begin().await.unwrap();
    tx.put_inputs(&[second.clone(), input("a", InputKind::Input, b"no"), asked.clone(), strangers])
        .await
        .unwrap();
    tx.put_inputs(from_ref(&answered)).await.unwrap();
    tx.put_inputs(&[]).await.unwrap();
    tx.commit().await.unwrap();
    let all = inputs_of(&run);
    assert_eq!(store.get_inputs(&all).await.unwrap(), [asked.clone(), answered.clone(), second.clone()]);
    let strangers = InputQuery { namespace: elsewhere(), ..all.clone() };
    assert_eq!(store.get_inputs(&strangers).await.unwrap(), []);
    let one = InputQuery { key: Some("a".to_owned()), ..all.clone() };
    assert_eq!(store.get_inputs(&one).await.unwrap(), [asked.clone(), answered]);
    let none = InputQuery { key: Some("c".to_owned()), ..all.clone() };
    assert_eq!(store.get_inputs(&none).await.unwrap(), []);
    let first = InputQuery { limit: 1, ..all.clone() };
    assert_eq!(store.get_inputs(&first).await.unwrap(), [asked]);
    let later = InputQuery { after: Some("a".to_owned()), ..all };
    assert_eq!(store.get_inputs(&later).await.unwrap(), [second]);
}

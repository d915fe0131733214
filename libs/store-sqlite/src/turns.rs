//! Whose turn it is among those who wait for a limit. What one statement does on Postgres is done here in steps: there is
//! one writer, in the same process.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use sqlx::{SqliteConnection, query, query_scalar, sqlite::SqliteRow};
use tidegate_model::RunId;
use tidegate_store::{HandOut, LimitKey, StoreError, adapter};

use crate::{error::store_error, queries, row};

/// What is between the turns of two runs of one key.
const STEP: i64 = 2;

/// The tickets of a key that were picked.
#[derive(Default)]
struct Picked {
    runs: BTreeSet<RunId>,
    last_turn: i64,
}

/// Hands out, in a transaction that writes.
///
/// The turns are tickets of the keys: those with the smallest are picked, and of each key as many are served as it had
/// tickets picked, those that are due first. Who has been picked and is not served gets the ticket of who is served in
/// its place.
pub(crate) async fn hand_out(
    tx: &mut SqliteConnection,
    key: &LimitKey,
    ask: &HandOut,
) -> Result<Vec<RunId>, StoreError> {
    let (namespace, name, now) = (key.namespace.as_str(), &key.name, ask.now.as_micros());
    let room: i64 = query_scalar(queries::ROOM_FOR_WAITS.sql())
        .bind(namespace)
        .bind(name)
        .bind(now)
        .bind(adapter::bound(ask.max_slots))
        .bind(adapter::bound(ask.n_tokens))
        .bind(adapter::bound(Some(ask.n_more)))
        .bind(adapter::bound(Some(ask.max_lapsed)))
        .bind(adapter::limit(ask.limit))
        .bind(ask.lapsed_since.as_micros())
        .fetch_one(&mut *tx)
        .await
        .map_err(store_error)?;
    if room == 0 {
        return Ok(Vec::new());
    }
    let rows = query(queries::PICK_WAITS.sql())
        .bind(namespace)
        .bind(name)
        .bind(now)
        .bind(room)
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
    let mut picked = BTreeMap::<(i64, String), Picked>::new();
    for row in &rows {
        let of_key = picked.entry((row::column(row, 1)?, row::column(row, 2)?)).or_default();
        of_key.runs.insert(row::run_id(row, 0)?);
        of_key.last_turn = of_key.last_turn.max(row::column(row, 3)?);
    }
    let mut handed = Vec::with_capacity(rows.len());
    let (mut changes, mut gaps) = (Vec::new(), Vec::new());
    let change = |run_id: RunId, handed_at: i64, reserved_until: i64, turn: Option<i64>| {
        json!([row::hex(run_id.as_uuid()), handed_at, reserved_until, turn])
    };
    for ((priority, fairness_key), mut of_key) in picked {
        let chosen = query(queries::CHOOSE_WAITS.sql())
            .bind(namespace)
            .bind(name)
            .bind(now)
            .bind(adapter::limit(of_key.runs.len()))
            .bind(priority)
            .bind(&fairness_key)
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        let mut given = Vec::new();
        for row in &chosen {
            let (run_id, turn): (_, i64) = (row::run_id(row, 0)?, row::column(row, 1)?);
            if !of_key.runs.remove(&run_id) {
                given.push(turn);
            }
            let turn = turn.min(of_key.last_turn);
            changes.push(change(run_id, now, ask.reserved_until.as_micros(), Some(turn)));
            handed.push(run_id);
        }
        if of_key.runs.is_empty() {
            gaps.push(json!([namespace, name, priority, fairness_key, of_key.last_turn + STEP]));
        }
        let put_off = of_key.runs.into_iter().zip(given);
        changes.extend(put_off.map(|(run_id, turn)| change(run_id, 0, 0, Some(turn))));
    }
    let n_left = room - i64::try_from(handed.len()).unwrap_or(i64::MAX);
    if n_left > 0 && ask.handed_before.is_some() {
        let stale = query(queries::PICK_STALE_WAITS.sql())
            .bind(namespace)
            .bind(name)
            .bind(now)
            .bind(n_left)
            .bind(adapter::handed_before(ask.handed_before))
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        for row in &stale {
            let run_id = row::run_id(row, 0)?;
            changes.push(change(run_id, now, 0, None));
            handed.push(run_id);
        }
    }
    if !changes.is_empty() {
        query(queries::MARK_WAITS.sql())
            .bind(Json::from(changes).to_string())
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
    }
    fill(tx, gaps).await?;
    Ok(handed)
}

/// Has those move up that have the key of one of these, which have left the line.
pub(crate) async fn move_up(tx: &mut SqliteConnection, ended: &[SqliteRow]) -> Result<(), StoreError> {
    let mut first_turns = BTreeMap::<(String, String, i64, String), i64>::new();
    for row in ended {
        let was_handed_out = row::column::<i64>(row, 5)? > 0;
        if was_handed_out {
            continue;
        }
        let of_key = (row::column(row, 0)?, row::column(row, 1)?, row::column(row, 2)?, row::column(row, 3)?);
        let turn: i64 = row::column(row, 4)?;
        first_turns.entry(of_key).and_modify(|first| *first = turn.min(*first)).or_insert(turn);
    }
    let gap = |((namespace, name, priority, fairness_key), turn): ((String, String, i64, String), i64)| {
        json!([namespace, name, priority, fairness_key, turn])
    };
    fill(tx, first_turns.into_iter().map(gap).collect()).await
}

async fn fill(tx: &mut SqliteConnection, gaps: Vec<Json>) -> Result<(), StoreError> {
    if gaps.is_empty() {
        return Ok(());
    }
    query(queries::MOVE_WAITS_UP.sql())
        .bind(Json::from(gaps).to_string())
        .execute(tx)
        .await
        .map_err(store_error)?;
    Ok(())
}

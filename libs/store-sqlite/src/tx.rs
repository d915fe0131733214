use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sqlx::{Sqlite, Transaction, query, sqlite::SqliteRow};
use tidegate_model::{BulkOperationId, Namespace, ObjectId, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Failure, Run};
use tidegate_store::{
    BulkOperation, CacheEntry, EventRow, KeyOwner, KeyReservation, NewRun, ObjectRow, RunInput, RunTx,
    StoreError, Sweep,
    adapter::{self, Statement, first_reservations, key_name},
};
use tokio::sync::watch;

use crate::{bulk, error::store_error, queries, row};

/// Deletes of what is kept of runs outside of their rows.
static BELONGINGS: [&Statement; 7] = [
    &queries::DELETE_PAYLOADS,
    &queries::DELETE_FAILURES,
    &queries::DELETE_INPUTS,
    &queries::DELETE_ARTIFACTS_OF_RUNS,
    &queries::DELETE_EVENTS,
    &queries::DELETE_KEYS,
    &queries::DELETE_CACHE_KEYS,
];

/// A transaction that holds the one writer, so that every row is locked.
pub(crate) struct SqliteTx {
    pub(crate) tx: Transaction<'static, Sqlite>,
    commits: Arc<watch::Sender<u64>>,
    appended_events: bool,
}

impl SqliteTx {
    pub(crate) fn new(tx: Transaction<'static, Sqlite>, commits: Arc<watch::Sender<u64>>) -> Self {
        Self { tx, commits, appended_events: false }
    }

    async fn put_payloads(
        &mut self,
        kind: &'static str,
        payloads: impl Iterator<Item = (RunId, &Payload)> + Send,
    ) -> Result<(), StoreError> {
        // One by one: a blob is no JSON.
        for (run, payload) in payloads {
            query(queries::PUT_PAYLOAD.sql())
                .bind(run.as_uuid())
                .bind(kind)
                .bind(payload.data.to_vec())
                .bind(payload.object.map(|object| object.id.as_uuid()))
                .bind(payload.object.map(|object| adapter::signed(object.size)))
                .bind(payload.object.map(|object| object.sha256.to_vec()))
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }
}

fn runs(rows: &[SqliteRow]) -> Result<Vec<Run>, StoreError> {
    rows.iter().map(row::run).collect()
}

#[async_trait]
impl RunTx for SqliteTx {
    async fn lock_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        let rows = query(queries::GET_RUNS.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .bind(None::<&str>)
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        runs(&rows)
    }

    async fn share_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        self.lock_runs(ids).await
    }

    async fn read_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        self.lock_runs(ids).await
    }

    async fn have_more_below(&mut self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let rows = query(queries::HAVE_MORE_BELOW.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| row::run_id(row, 0)).collect()
    }

    async fn sweep(&mut self, sweep: &Sweep, limit: usize) -> Result<Vec<Run>, StoreError> {
        let query = match sweep {
            Sweep::NeverEnqueued { due_before } => {
                query(queries::SWEEP_NEVER_ENQUEUED.sql()).bind(due_before.as_micros())
            }
            Sweep::EnqueuedBefore { due_before, enqueued_before } => {
                query(queries::SWEEP_ENQUEUED_BEFORE.sql())
                    .bind(due_before.as_micros())
                    .bind(enqueued_before.as_micros())
            }
            Sweep::Timers { now } => query(queries::SWEEP_TIMERS.sql()).bind(now.as_micros()),
            Sweep::Cascades => query(queries::SWEEP_CASCADES.sql()),
            Sweep::LostSessions { now } => query(queries::SWEEP_LOST_SESSIONS.sql()).bind(now.as_micros()),
        };
        let rows = query.bind(adapter::limit(limit)).fetch_all(&mut *self.tx).await.map_err(store_error)?;
        runs(&rows)
    }

    async fn reserve_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<KeyOwner>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows = Json::from_iter(first_reservations(keys).values().map(|key| {
            json!([
                key.namespace.as_str(),
                key.scope,
                key.key,
                key.run_id.as_uuid().simple().to_string(),
                hex(&key.params_hash),
                key.expires_at.as_micros(),
            ])
        }));
        query(queries::RESERVE_KEYS.sql())
            .bind(rows.to_string())
            .bind(now.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let owners = self.find_keys(keys, now).await?;
        keys.iter()
            .zip(owners)
            .map(|(key, owner)| {
                owner.ok_or_else(|| StoreError::Internal(format!("key `{}` has no owner", key.key)))
            })
            .collect()
    }

    async fn note_answers(
        &mut self,
        answered: &[(KeyReservation, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows = Json::from_iter(
            answered.iter().map(|(key, n)| json!([key.namespace.as_str(), key.scope, key.key, n])),
        );
        query(queries::NOTE_ANSWERS.sql())
            .bind(rows.to_string())
            .bind(now.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn find_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<Option<KeyOwner>>, StoreError> {
        let names =
            Json::from_iter(keys.iter().map(|key| json!([key.namespace.as_str(), key.scope, key.key])));
        let rows = query(queries::FIND_KEYS.sql())
            .bind(names.to_string())
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut owners: HashMap<adapter::KeyName<'_>, KeyOwner> = HashMap::new();
        for owned in &rows {
            let name = (row::column(owned, 0)?, row::column(owned, 1)?, row::column(owned, 2)?);
            let hash: &[u8] = row::column(owned, 4)?;
            let params_hash =
                hash.try_into().map_err(|_| adapter::unreadable("params_hash", format!("{hash:?}")))?;
            owners.insert(name, KeyOwner { run_id: row::run_id(owned, 3)?, params_hash });
        }
        Ok(keys.iter().map(|key| owners.get(&key_name(key)).copied()).collect())
    }

    async fn insert_runs(&mut self, runs: &[NewRun]) -> Result<Vec<bool>, StoreError> {
        let mut seen = HashSet::new();
        let first: Vec<&NewRun> = runs.iter().filter(|new| seen.insert(new.run.id)).collect();
        let rows = query(queries::INSERT_RUNS.sql())
            .bind(row::new_runs(&first))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut inserted = rows.iter().map(|row| row::run_id(row, 0)).collect::<Result<HashSet<_>, _>>()?;
        let with_parameters = first.iter().filter(|new| inserted.contains(&new.run.id));
        let parameters = with_parameters.filter_map(|new| Some((new.run.id, new.parameters.as_ref()?)));
        let parameters: Vec<_> = parameters.collect();
        self.put_payloads("parameters", parameters.into_iter()).await?;
        // Taken out once: a second use of the id in the slice did not insert it.
        Ok(runs.iter().map(|new| inserted.remove(&new.run.id)).collect())
    }

    async fn update_runs(&mut self, runs: &[(Run, Option<Timestamp>)]) -> Result<(), StoreError> {
        query(queries::UPDATE_RUNS.sql())
            .bind(row::changed_runs(runs))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn append_events(&mut self, events: &[EventRow]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let rows = row::events(events);
        query(queries::APPEND_EVENTS.sql()).bind(&rows).execute(&mut *self.tx).await.map_err(store_error)?;
        self.appended_events = true;
        self.set_off(&rows).await
    }

    async fn put_results(&mut self, results: &[(RunId, Payload)]) -> Result<(), StoreError> {
        self.put_payloads("result", results.iter().map(|(run, payload)| (*run, payload))).await
    }

    async fn copy_results(&mut self, copies: &[(RunId, RunId)]) -> Result<(), StoreError> {
        query(queries::COPY_RESULTS.sql())
            .bind(row::pairs(copies))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn put_failures(&mut self, failures: &[(RunId, u32, Failure)]) -> Result<(), StoreError> {
        query(queries::PUT_FAILURES.sql())
            .bind(row::failures(failures))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn live_sessions(
        &mut self,
        ids: &[SessionId],
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Namespace)>, StoreError> {
        let rows = query(queries::LIVE_SESSIONS.sql())
            .bind(row::ids(ids.iter().map(SessionId::as_uuid)))
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok((
                    SessionId::from_uuid(row::column(row, 0)?),
                    adapter::parse("namespace", row::column(row, 1)?)?,
                ))
            })
            .collect()
    }

    async fn put_inputs(&mut self, inputs: &[RunInput]) -> Result<(), StoreError> {
        // One by one: a blob is no JSON.
        for input in inputs {
            query(queries::PUT_INPUT.sql())
                .bind(input.run_id.as_uuid())
                .bind(adapter::text(&input.key).into_owned())
                .bind(input.kind.as_str())
                .bind(input.data.data.to_vec())
                .bind(input.data.object.map(|object| object.id.as_uuid()))
                .bind(input.data.object.map(|object| adapter::signed(object.size)))
                .bind(input.data.object.map(|object| object.sha256.to_vec()))
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    async fn put_cache_keys(&mut self, entries: &[CacheEntry]) -> Result<(), StoreError> {
        query(queries::PUT_CACHE_KEYS.sql())
            .bind(row::cache_entries(entries))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn find_cache_keys(
        &mut self,
        keys: &[(Namespace, String)],
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StoreError> {
        let rows = query(queries::FIND_CACHE_KEYS.sql())
            .bind(row::cache_keys(keys))
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut found: HashMap<(&str, &str), RunId> = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert((row::column(row, 0)?, row::column(row, 1)?), row::run_id(row, 2)?);
        }
        let run = |(namespace, key): &(Namespace, String)| {
            found.get(&(namespace.as_str(), &*adapter::text(key))).copied()
        };
        Ok(keys.iter().map(run).collect())
    }

    async fn delete_runs(&mut self, ids: &[RunId]) -> Result<usize, StoreError> {
        let rows = query(queries::DELETE_RUNS.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let deleted = rows.iter().map(|row| row::run_id(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let ids = row::ids(deleted.iter().map(RunId::as_uuid));
        for statement in BELONGINGS {
            query(statement.sql()).bind(&ids).execute(&mut *self.tx).await.map_err(store_error)?;
        }
        Ok(deleted.len())
    }

    async fn use_objects(
        &mut self,
        objects: &[(Namespace, ObjectId)],
        now: Timestamp,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let asked = Json::from_iter(
            objects
                .iter()
                .map(|(namespace, id)| json!([id.as_uuid().simple().to_string(), namespace.as_str()])),
        );
        let rows = query(queries::USE_OBJECTS.sql())
            .bind(asked.to_string())
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::object).collect()
    }

    async fn get_parameters(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Payload)>, StoreError> {
        let rows = query(queries::GET_PARAMETERS.sql())
            .bind(row::ids(ids.iter().map(RunId::as_uuid)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| Ok((row::run_id(row, 0)?, row::payload(row, 1)?))).collect()
    }

    async fn put_bulk_operation(&mut self, operation: &BulkOperation) -> Result<bool, StoreError> {
        bulk::put(&mut self.tx, operation).await
    }

    async fn lock_bulk_operation(
        &mut self,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError> {
        bulk::lock(&mut self.tx, id).await
    }

    async fn sweep_bulk_operation(&mut self, now: Timestamp) -> Result<Option<BulkOperation>, StoreError> {
        bulk::sweep(&mut self.tx, now).await
    }

    async fn update_bulk_operation(&mut self, operation: &BulkOperation) -> Result<(), StoreError> {
        bulk::update(&mut self.tx, operation).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        // A commit that SQLite refuses has not happened; the file is no remote server.
        self.tx.commit().await.map_err(store_error)?;
        if self.appended_events {
            self.commits.send_modify(|n_commits| *n_commits += 1);
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

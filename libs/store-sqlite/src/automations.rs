use std::str::FromStr;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{AutomationName, AutomationRevision, Namespace, RunId, Timestamp};
use tidegate_orchestration::{StateName, StateType};
use tidegate_store::{
    Automation, AutomationKey, AutomationRecord, AutomationRows, AutomationTx, FilteredFiring, Firing,
    FiringKey, FiringOutcome, FiringQuery, StoreError, Trigger, adapter,
};
use uuid::Uuid;

use crate::{SqliteStore, error::store_error, queries, row, tx::SqliteTx};

#[async_trait]
impl AutomationRows for SqliteStore {
    async fn get_automation(&self, key: &AutomationKey) -> Result<Option<Automation>, StoreError> {
        let found = query(queries::GET_AUTOMATION.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(store_error)?;
        found.as_ref().map(automation).transpose()
    }

    async fn list_automations(
        &self,
        namespace: &Namespace,
        after: Option<&AutomationName>,
        limit: usize,
    ) -> Result<Vec<Automation>, StoreError> {
        let rows = query(queries::LIST_AUTOMATIONS.sql())
            .bind(namespace.as_str())
            // Nothing is as small as the empty text, which is no name.
            .bind(after.map_or("", AutomationName::as_str))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(automation).collect()
    }

    async fn list_firings(
        &self,
        key: &AutomationKey,
        after: Option<(RunId, u64)>,
        limit: usize,
    ) -> Result<Vec<Firing>, StoreError> {
        let (run, seq) = after.map_or((Uuid::nil(), 0), |(run, seq)| (run.as_uuid(), seq));
        let rows = query(queries::LIST_FIRINGS.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(run)
            .bind(adapter::signed(seq))
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(firing).collect()
    }

    async fn firings_to_filter(&self, limit: usize) -> Result<Vec<Firing>, StoreError> {
        let rows = query(queries::FIRINGS_TO_FILTER.sql())
            .bind(adapter::limit(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(firing).collect()
    }
}

#[async_trait]
impl AutomationTx for SqliteTx {
    async fn lock_automation(&mut self, key: &AutomationKey) -> Result<Option<Automation>, StoreError> {
        // It has the one writer.
        let found = query(queries::GET_AUTOMATION.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        found.as_ref().map(automation).transpose()
    }

    async fn count_automations(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError> {
        let counted = query(queries::COUNT_AUTOMATIONS.sql())
            .bind(namespace.as_str())
            .bind(adapter::signed(limit))
            .fetch_one(&mut *self.tx)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&counted, 0)?)
    }

    async fn insert_automation(&mut self, automation: &Automation) -> Result<bool, StoreError> {
        let (trigger, record) = (&automation.trigger, &automation.record);
        let done = query(queries::INSERT_AUTOMATION.sql())
            .bind(automation.key.namespace.as_str())
            .bind(automation.key.name.as_str())
            .bind(adapter::text(&automation.description))
            .bind(state_types(trigger))
            .bind(state_names(trigger))
            .bind(adapter::text(&trigger.filter))
            .bind(trigger.each_attempt)
            .bind(automation.action[..].to_vec())
            .bind(automation.is_paused)
            .bind(adapter::signed(record.n_succeeded))
            .bind(adapter::signed(record.n_given_up))
            .bind(adapter::text(&record.last_error))
            .bind(record.last_succeeded_at.map(Timestamp::as_micros))
            .bind(automation.revision.as_uuid())
            .bind(automation.created_at.as_micros())
            .bind(automation.updated_at.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn update_automation(&mut self, automation: &Automation) -> Result<(), StoreError> {
        let trigger = &automation.trigger;
        query(queries::UPDATE_AUTOMATION.sql())
            .bind(automation.key.namespace.as_str())
            .bind(automation.key.name.as_str())
            .bind(adapter::text(&automation.description))
            .bind(state_types(trigger))
            .bind(state_names(trigger))
            .bind(adapter::text(&trigger.filter))
            .bind(trigger.each_attempt)
            .bind(automation.action[..].to_vec())
            .bind(automation.is_paused)
            .bind(automation.revision.as_uuid())
            .bind(automation.updated_at.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn clear_firings(&mut self, key: &AutomationKey, limit: usize) -> Result<usize, StoreError> {
        let done = query(queries::CLEAR_FIRINGS.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .bind(adapter::limit(limit))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn delete_automation(&mut self, key: &AutomationKey) -> Result<(), StoreError> {
        for statement in [&queries::DELETE_FIRINGS_OF_AUTOMATION, &queries::DELETE_AUTOMATION] {
            query(statement.sql())
                .bind(key.namespace.as_str())
                .bind(key.name.as_str())
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    async fn filter_firings(&mut self, filtered: &[FilteredFiring]) -> Result<(), StoreError> {
        let row = |firing: &FilteredFiring| {
            let mut columns = key_columns(&firing.key);
            columns.extend([Json::from(firing.at.as_micros()), Json::from(firing.is_kept)]);
            Json::Array(columns)
        };
        let rows = Json::from_iter(filtered.iter().map(row)).to_string();
        for statement in [&queries::DELETE_FILTERED_FIRINGS, &queries::KEEP_FILTERED_FIRINGS] {
            query(statement.sql()).bind(&rows).execute(&mut *self.tx).await.map_err(store_error)?;
        }
        Ok(())
    }

    async fn take_firings(&mut self, asked: &FiringQuery) -> Result<Vec<Firing>, StoreError> {
        // With one writer no event sets off an automation that is going, so that no firing is left of one that is gone.
        let rows = query(queries::DUE_FIRINGS.sql())
            .bind(asked.now.as_micros())
            .bind(adapter::limit(asked.limit))
            .bind(adapter::limit(asked.limit_each))
            .bind(Json::from_iter(asked.except.iter().map(automation_json)).to_string())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut firings = rows.iter().map(firing).collect::<Result<Vec<_>, _>>()?;
        if firings.is_empty() {
            return Ok(firings);
        }
        let keys = firings.iter().map(|firing| Json::Array(key_columns(&firing.key)));
        query(queries::TAKE_FIRINGS.sql())
            .bind(Json::from_iter(keys).to_string())
            .bind(asked.until.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        for firing in &mut firings {
            firing.due_at = asked.until;
            firing.n_tries += 1;
        }
        Ok(firings)
    }

    async fn finish_firings(
        &mut self,
        finished: &[(FiringKey, u32, FiringOutcome)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if finished.is_empty() {
            return Ok(());
        }
        let row = |(key, n_tries, outcome): &(FiringKey, u32, FiringOutcome)| {
            let (outcome, error, due_at) = adapter::firing_outcome_columns(outcome, now);
            let mut columns = key_columns(key);
            columns.extend([
                Json::from(*n_tries),
                Json::from(outcome),
                Json::from(adapter::text(error)),
                Json::from(due_at.map(Timestamp::as_micros)),
            ]);
            Json::Array(columns)
        };
        let rows = Json::from_iter(finished.iter().map(row)).to_string();
        query(queries::NOTE_FINISHED.sql())
            .bind(&rows)
            .bind(now.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        for statement in [&queries::DELETE_FINISHED_FIRINGS, &queries::KEEP_FINISHED_FIRINGS] {
            query(statement.sql()).bind(&rows).execute(&mut *self.tx).await.map_err(store_error)?;
        }
        Ok(())
    }

    async fn pause_crowded(&mut self, most: usize, error: &str) -> Result<Vec<AutomationKey>, StoreError> {
        let rows = query(queries::PAUSE_CROWDED_AUTOMATIONS.sql())
            .bind(adapter::limit(most))
            .bind(adapter::text(error))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(automation_key).collect()
    }

    async fn purge_firings(&mut self, given_up_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let done = query(queries::PURGE_FIRINGS.sql())
            .bind(given_up_before.as_micros())
            .bind(adapter::limit(limit))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }
}

impl SqliteTx {
    /// Writes what events set off. `events` are those of `run_events/append.sql`.
    pub(crate) async fn set_off(&mut self, events: &str) -> Result<(), StoreError> {
        let found =
            query(queries::MAY_BE_SET_OFF.sql()).fetch_one(&mut *self.tx).await.map_err(store_error)?;
        if row::column::<bool>(&found, 0)? {
            query(queries::INSERT_FIRINGS.sql())
                .bind(events)
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }
}

fn state_types(trigger: &Trigger) -> String {
    Json::from_iter(trigger.states.iter().map(|state| state.as_str())).to_string()
}

fn state_names(trigger: &Trigger) -> String {
    Json::from_iter(trigger.state_names.iter().map(|name| name.as_str())).to_string()
}

fn automation_json(key: &AutomationKey) -> Json {
    json!([key.namespace.as_str(), key.name.as_str()])
}

/// What a row of a statement about firings begins with.
fn key_columns(key: &FiringKey) -> Vec<Json> {
    let FiringKey { automation, run_id, seq } = key;
    vec![
        automation.namespace.as_str().into(),
        automation.name.as_str().into(),
        row::hex(run_id.as_uuid()).into(),
        adapter::signed(*seq).into(),
    ]
}

fn parsed<T: FromStr>(name: &'static str, texts: &[String]) -> Result<Vec<T>, StoreError> {
    texts.iter().map(|text| adapter::parse(name, text)).collect()
}

/// Its first columns.
fn automation_key(row: &SqliteRow) -> Result<AutomationKey, StoreError> {
    Ok(AutomationKey {
        namespace: adapter::parse("namespace", row::column(row, 0)?)?,
        name: adapter::parse("name", row::column(row, 1)?)?,
    })
}

fn automation(row: &SqliteRow) -> Result<Automation, StoreError> {
    Ok(Automation {
        key: automation_key(row)?,
        description: row::column(row, 2)?,
        trigger: Trigger {
            states: parsed::<StateType>("states", &row::document::<Vec<String>>(row, 3, "states")?)?,
            state_names: parsed::<StateName>(
                "state_names",
                &row::document::<Vec<String>>(row, 4, "state_names")?,
            )?,
            filter: row::column(row, 5)?,
            each_attempt: row::column(row, 6)?,
        },
        action: row::column::<Vec<u8>>(row, 7)?.into(),
        is_paused: row::column(row, 8)?,
        record: AutomationRecord {
            n_succeeded: adapter::number("n_succeeded", row::column(row, 9)?)?,
            n_given_up: adapter::number("n_given_up", row::column(row, 10)?)?,
            last_error: row::column(row, 11)?,
            last_succeeded_at: row::column::<Option<i64>>(row, 12)?.map(Timestamp::from_micros),
        },
        revision: AutomationRevision::from_uuid(row::column(row, 13)?),
        created_at: Timestamp::from_micros(row::column(row, 14)?),
        updated_at: Timestamp::from_micros(row::column(row, 15)?),
    })
}

/// Reads a row that begins with `automation_firings/columns.sql`.
fn firing(row: &SqliteRow) -> Result<Firing, StoreError> {
    Ok(Firing {
        key: FiringKey {
            automation: automation_key(row)?,
            run_id: row::run_id(row, 2)?,
            seq: adapter::number("seq", row::column(row, 3)?)?,
        },
        state_type: adapter::parse("state", row::column(row, 4)?)?,
        state_name: adapter::parse("state_name", row::column(row, 5)?)?,
        message: row::column(row, 6)?,
        at: Timestamp::from_micros(row::column(row, 7)?),
        attempt: adapter::number("attempt", row::column(row, 8)?)?,
        ended: row::column(row, 9)?,
        n_tries: adapter::number("n_tries", row::column(row, 10)?)?,
        last_error: row::column(row, 11)?,
        due_at: Timestamp::from_micros(row::column(row, 12)?),
        is_given_up: row::column(row, 13)?,
    })
}

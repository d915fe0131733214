use std::{collections::BTreeSet, str::FromStr};

use async_trait::async_trait;
use sqlx::{postgres::PgRow, query};
use tidegate_model::{AutomationName, AutomationRevision, Namespace, RunId, Timestamp};
use tidegate_orchestration::{StateName, StateType};
use tidegate_store::{
    Automation, AutomationKey, AutomationRecord, AutomationRows, AutomationTx, FilteredFiring, Firing,
    FiringKey, FiringOutcome, FiringQuery, StoreError, Trigger, adapter,
};
use uuid::Uuid;

use crate::{
    PgStore,
    error::store_error,
    queries, row,
    tx::{PgTx, each},
};

#[async_trait]
impl AutomationRows for PgStore {
    async fn get_automation(&self, key: &AutomationKey) -> Result<Option<Automation>, StoreError> {
        let found = query(queries::GET_AUTOMATION.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&self.pool)
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
            .fetch_all(&self.pool)
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
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(firing).collect()
    }

    async fn firings_to_filter(&self, limit: usize) -> Result<Vec<Firing>, StoreError> {
        let rows = query(queries::FIRINGS_TO_FILTER.sql())
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.iter().map(firing).collect()
    }
}

#[async_trait]
impl AutomationTx for PgTx {
    async fn lock_automation(&mut self, key: &AutomationKey) -> Result<Option<Automation>, StoreError> {
        let found = query(queries::LOCK_AUTOMATION.sql())
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
            .bind(each!(trigger.states, state => state.as_str()))
            .bind(each!(trigger.state_names, name => name.as_str()))
            .bind(adapter::text(&trigger.filter))
            .bind(trigger.each_attempt)
            .bind(&automation.action[..])
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
            .bind(each!(trigger.states, state => state.as_str()))
            .bind(each!(trigger.state_names, name => name.as_str()))
            .bind(adapter::text(&trigger.filter))
            .bind(trigger.each_attempt)
            .bind(&automation.action[..])
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
        query(queries::DELETE_AUTOMATION.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn filter_firings(&mut self, filtered: &[FilteredFiring]) -> Result<(), StoreError> {
        query(queries::FILTER_FIRINGS.sql())
            .bind(each!(filtered, firing => firing.key.automation.namespace.as_str()))
            .bind(each!(filtered, firing => firing.key.automation.name.as_str()))
            .bind(each!(filtered, firing => firing.key.run_id.as_uuid()))
            .bind(each!(filtered, firing => adapter::signed(firing.key.seq)))
            .bind(each!(filtered, firing => firing.at.as_micros()))
            .bind(each!(filtered, firing => firing.is_kept))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn take_firings(&mut self, asked: &FiringQuery) -> Result<Vec<Firing>, StoreError> {
        let rows = query(queries::TAKE_FIRINGS.sql())
            .bind(asked.now.as_micros())
            .bind(asked.until.as_micros())
            .bind(adapter::limit(asked.limit))
            .bind(adapter::limit(asked.limit_each))
            .bind(each!(asked.except, key => key.namespace.as_str()))
            .bind(each!(asked.except, key => key.name.as_str()))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(firing).collect()
    }

    async fn finish_firings(
        &mut self,
        finished: &[(FiringKey, u32, FiringOutcome)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if finished.is_empty() {
            return Ok(());
        }
        // A firing that is dropped writes no record.
        let written: BTreeSet<&AutomationKey> = finished
            .iter()
            .filter(|(_, _, outcome)| *outcome != FiringOutcome::Dropped)
            .map(|(key, _, _)| &key.automation)
            .collect();
        if !written.is_empty() {
            query(queries::LOCK_AUTOMATIONS.sql())
                .bind(each!(written, key => key.namespace.as_str()))
                .bind(each!(written, key => key.name.as_str()))
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
        let outcomes = each!(finished, (_, _, outcome) => adapter::firing_outcome_columns(outcome, now));
        query(queries::FINISH_FIRINGS.sql())
            .bind(each!(finished, (key, _, _) => key.automation.namespace.as_str()))
            .bind(each!(finished, (key, _, _) => key.automation.name.as_str()))
            .bind(each!(finished, (key, _, _) => key.run_id.as_uuid()))
            .bind(each!(finished, (key, _, _) => adapter::signed(key.seq)))
            .bind(each!(finished, (_, n_tries, _) => i64::from(*n_tries)))
            .bind(each!(outcomes, (outcome, _, _) => *outcome))
            .bind(each!(outcomes, (_, error, _) => adapter::text(error)))
            .bind(each!(outcomes, (_, _, due_at) => due_at.map(Timestamp::as_micros)))
            .bind(now.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
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

fn parsed<T: FromStr>(name: &'static str, texts: &[String]) -> Result<Vec<T>, StoreError> {
    texts.iter().map(|text| adapter::parse(name, text)).collect()
}

/// Its first columns.
fn automation_key(row: &PgRow) -> Result<AutomationKey, StoreError> {
    Ok(AutomationKey {
        namespace: adapter::parse("namespace", row::column(row, 0)?)?,
        name: adapter::parse("name", row::column(row, 1)?)?,
    })
}

fn automation(row: &PgRow) -> Result<Automation, StoreError> {
    Ok(Automation {
        key: automation_key(row)?,
        description: row::column(row, 2)?,
        trigger: Trigger {
            states: parsed::<StateType>("states", &row::column::<Vec<String>>(row, 3)?)?,
            state_names: parsed::<StateName>("state_names", &row::column::<Vec<String>>(row, 4)?)?,
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

/// Reads a row of `automation_firings/columns.sql`.
fn firing(row: &PgRow) -> Result<Firing, StoreError> {
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

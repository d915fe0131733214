use async_trait::async_trait;
use serde_json::Value as Json;
use sqlx::{query, sqlite::SqliteRow};
use tidegate_model::{Namespace, Timestamp, VariableName, VariableRevision};
use tidegate_store::{StoreError, Variable, VariableKey, VariableQuery, VariableRows, VariableTx, adapter};

use crate::{SqliteStore, error::store_error, queries, row, tx::SqliteTx};

#[async_trait]
impl VariableRows for SqliteStore {
    async fn get_variables(
        &self,
        namespace: &Namespace,
        names: &[VariableName],
    ) -> Result<Vec<Variable>, StoreError> {
        let rows = query(queries::GET_VARIABLES.sql())
            .bind(namespace.as_str())
            .bind(Json::from_iter(names.iter().map(VariableName::as_str)).to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(variable).collect()
    }

    async fn list_variables(&self, asked: &VariableQuery) -> Result<Vec<Variable>, StoreError> {
        let rows = query(queries::LIST_VARIABLES.sql())
            .bind(asked.namespace.as_str())
            .bind(&asked.name_prefix)
            .bind(asked.tag.as_deref().map(adapter::text))
            .bind(asked.after.as_ref().map(VariableName::as_str))
            .bind(adapter::limit(asked.limit))
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter().map(variable).collect()
    }
}

#[async_trait]
impl VariableTx for SqliteTx {
    async fn lock_variable(&mut self, key: &VariableKey) -> Result<Option<Variable>, StoreError> {
        let found = query(queries::LOCK_VARIABLE.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(store_error)?;
        found.as_ref().map(variable).transpose()
    }

    async fn count_variables(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError> {
        let counted = query(queries::COUNT_VARIABLES.sql())
            .bind(namespace.as_str())
            .bind(adapter::signed(limit))
            .fetch_one(&mut *self.tx)
            .await
            .map_err(store_error)?;
        adapter::number("count", row::column(&counted, 0)?)
    }

    async fn insert_variable(&mut self, variable: &Variable) -> Result<bool, StoreError> {
        let done = query(queries::INSERT_VARIABLE.sql())
            .bind(variable.key.namespace.as_str())
            .bind(variable.key.name.as_str())
            .bind(&variable.value)
            .bind(row::texts(&variable.tags).to_string())
            .bind(adapter::text(&variable.description))
            .bind(variable.revision.as_uuid())
            .bind(variable.created_at.as_micros())
            .bind(variable.updated_at.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn update_variable(&mut self, variable: &Variable) -> Result<(), StoreError> {
        query(queries::UPDATE_VARIABLE.sql())
            .bind(variable.key.namespace.as_str())
            .bind(variable.key.name.as_str())
            .bind(&variable.value)
            .bind(row::texts(&variable.tags).to_string())
            .bind(adapter::text(&variable.description))
            .bind(variable.revision.as_uuid())
            .bind(variable.updated_at.as_micros())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn delete_variable(&mut self, key: &VariableKey) -> Result<(), StoreError> {
        query(queries::DELETE_VARIABLE.sql())
            .bind(key.namespace.as_str())
            .bind(key.name.as_str())
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

fn variable(row: &SqliteRow) -> Result<Variable, StoreError> {
    Ok(Variable {
        key: VariableKey {
            namespace: adapter::parse("namespace", row::column(row, 0)?)?,
            name: adapter::parse("name", row::column(row, 1)?)?,
        },
        value: row::column(row, 2)?,
        tags: row::document(row, 3, "tags")?,
        description: row::column(row, 4)?,
        revision: VariableRevision::from_uuid(row::column(row, 5)?),
        created_at: Timestamp::from_micros(row::column(row, 6)?),
        updated_at: Timestamp::from_micros(row::column(row, 7)?),
    })
}

use async_trait::async_trait;
use sqlx::query;
use tidegate_model::{Namespace, ObjectId, Timestamp};
use tidegate_store::{Judged, ObjectRow, ObjectRows, ObjectState, StoreError, adapter};

use crate::{PgStore, error::store_error, queries, row};

#[async_trait]
impl ObjectRows for PgStore {
    async fn announce_object(&self, row: &ObjectRow, now: Timestamp) -> Result<ObjectRow, StoreError> {
        query(queries::ANNOUNCE_OBJECT.sql())
            .bind(row.object.id.as_uuid())
            .bind(adapter::signed(row.object.size))
            .bind(now.as_micros())
            .bind(&row.object.sha256[..])
            .bind(row.namespace.as_str())
            .bind(&row.key)
            .bind(row.state.as_str())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        let found = find(self, None, row.object.id).await?;
        // The collector may have taken an earlier one in between: the next try makes it anew.
        found.ok_or_else(|| StoreError::Unavailable("the object was deleted meanwhile".into()))
    }

    async fn get_object(&self, namespace: &Namespace, id: ObjectId) -> Result<Option<ObjectRow>, StoreError> {
        find(self, Some(namespace), id).await
    }

    async fn complete_object(
        &self,
        namespace: &Namespace,
        id: ObjectId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = query(queries::COMPLETE_OBJECT.sql())
            .bind(id.as_uuid())
            .bind(namespace.as_str())
            .bind(now.as_micros())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn take_orphans(
        &self,
        touched_before: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Judged, StoreError> {
        let rows = query(queries::TAKE_ORPHANS.sql())
            .bind(touched_before.as_micros())
            .bind(now.as_micros())
            .bind(adapter::limit(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        let mut orphans = rows.iter().map(row::object).collect::<Result<Vec<_>, _>>()?;
        orphans.retain(|row| row.state == ObjectState::Deleting);
        orphans.sort_by_key(|row| row.object.id);
        Ok(Judged { n_judged: rows.len(), orphans })
    }

    async fn forget_objects(&self, ids: &[ObjectId]) -> Result<(), StoreError> {
        query(queries::FORGET_OBJECTS.sql())
            .bind(ids.iter().map(ObjectId::as_uuid).collect::<Vec<_>>())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

async fn find(
    store: &PgStore,
    namespace: Option<&Namespace>,
    id: ObjectId,
) -> Result<Option<ObjectRow>, StoreError> {
    let found = query(queries::FIND_OBJECT.sql())
        .bind(id.as_uuid())
        .bind(namespace.map(Namespace::as_str))
        .fetch_optional(&store.pool)
        .await
        .map_err(store_error)?;
    found.as_ref().map(row::object).transpose()
}

//! The objects in object storage that payloads refer to: a claim check is good only for what is there.

use std::collections::HashMap;

use tidegate_model::{Namespace, ObjectId, ObjectRef, Payload, Timestamp};
use tidegate_store::{ObjectRow, RunTx, StoreError};

use crate::EngineError;

/// The usable objects among those that a batch refers to. They stay until its transaction has ended.
pub(crate) struct Objects(HashMap<ObjectId, ObjectRow>);

impl Objects {
    /// Looks up what `payloads` refer to, and notes that it is used.
    pub async fn of<'a>(
        tx: &mut dyn RunTx,
        payloads: impl Iterator<Item = (&'a Namespace, &'a Payload)>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let asked: Vec<_> = payloads
            .filter_map(|(namespace, payload)| Some((namespace.clone(), payload.object?.id)))
            .collect();
        if asked.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let found = tx.use_objects(&asked, now).await?;
        Ok(Self(found.into_iter().map(|row| (row.object.id, row)).collect()))
    }

    /// Whether a payload of this namespace may be stored.
    pub fn check(&self, namespace: &Namespace, payload: Option<&Payload>) -> Result<(), EngineError> {
        let Some(object @ ObjectRef { id, .. }) = payload.and_then(|payload| payload.object) else {
            return Ok(());
        };
        match self.0.get(&id).filter(|row| row.namespace == *namespace) {
            None => Err(EngineError::PayloadNotFound { object_id: id }),
            Some(row) if row.object != object => Err(EngineError::PayloadDiffers { object_id: id }),
            Some(_) => Ok(()),
        }
    }
}

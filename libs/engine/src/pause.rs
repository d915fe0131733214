use tidegate_model::{Namespace, Payload, RunId};
use tidegate_orchestration::Run;
use tidegate_store::{InputKind, InputQuery};
use tokio::time::Instant;

use crate::{Engine, EngineError, wait::Changed};

/// How a pause of a run's code stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The code waits.
    Waiting,
    /// The code may go on, with this.
    Resumed(Option<Payload>),
}

impl Engine {
    /// Waits until a pause of a run's code is resumed, or until `deadline` (`None`: for ever).
    pub async fn await_resume(
        &self,
        namespace: &Namespace,
        run_id: RunId,
        key: &str,
        deadline: Option<Instant>,
    ) -> Result<Pause, EngineError> {
        // Registered before looking, so that no change falls between.
        let mut changed = Changed::of(self, run_id);
        loop {
            let run = self.get_all(namespace, &[run_id]).await?.into_iter().next();
            let run = run.ok_or(EngineError::NotFound { run_id })?;
            if run.resumed_keys.iter().any(|resumed| resumed == key) {
                return Ok(Pause::Resumed(self.input(&run, key).await?));
            }
            if run.pause_key.as_deref() != Some(key) {
                let state = run.state.state_type();
                return Err(EngineError::NotAtPause { run_id, key: key.to_owned(), state });
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Pause::Waiting);
            }
            changed.next(deadline).await;
        }
    }

    async fn input(&self, run: &Run, key: &str) -> Result<Option<Payload>, EngineError> {
        let query = InputQuery {
            namespace: run.namespace.clone(),
            run_id: run.id,
            key: Some(key.to_owned()),
            after: None,
            limit: 2,
        };
        let found = self.inner.store.get_inputs(&query).await?;
        Ok(found.into_iter().find(|input| input.kind == InputKind::Input).map(|input| input.data))
    }
}

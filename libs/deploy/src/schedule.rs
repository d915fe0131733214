//! Schedules as the engine asks about them.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use tidegate_engine::{Create, Deploy, Deployed, EngineError, Fire, Fires, Timetables};
use tidegate_model::{Payload, QueueName, RunId, RunKind, ScheduleName, Timestamp};
use tidegate_orchestration::{Draft, Placement};
use tidegate_proto::v1;
use tidegate_schema::Schemas;
use tidegate_store::{Deployment, Schedule, WorkPool};
use tidegate_wire::{JSON, timestamp_to_proto};

use crate::{Asked, N_SCHEMAS, Times, schedule_spec_of};

/// Knows the times of schedules, and their runs.
#[derive(Clone, Debug)]
pub struct Scheduled {
    schemas: Arc<Schemas>,
}

impl Default for Scheduled {
    fn default() -> Self {
        Self { schemas: Arc::new(Schemas::new(N_SCHEMAS)) }
    }
}

impl Scheduled {
    /// Whether its deployment, and the work pool of that, take what the schedule gives its runs.
    ///
    /// # Errors
    /// `InvalidFields`, by their paths below `spec`.
    pub fn check(
        &self,
        schedule: &Schedule,
        deployment: &Deployment,
        pool: Option<&WorkPool>,
    ) -> Result<(), EngineError> {
        let now = Fire { fire_at: schedule.created_at, due_at: schedule.created_at };
        self.run(schedule, now, RunId::new())?.0.deploy(deployment, pool).map(|_| ())
    }

    /// The run of a time, under this id.
    ///
    /// # Errors
    /// What is kept of the schedule cannot be read.
    pub fn run_with_id(&self, schedule: &Schedule, fire: Fire, id: RunId) -> Result<Create, EngineError> {
        let (run, parameters) = self.run(schedule, fire, id)?;
        let name = &schedule.key.deployment.name;
        // Its deployment says the rest.
        let draft = Draft {
            namespace: run.asked.namespace.clone(),
            deployment: Some(name.to_string()),
            ..Draft::new(run.asked.id, RunKind::Flow, name.flow(), Placement::Queue(QueueName::default()))
        };
        Ok(Create {
            draft,
            parameters,
            params_hash: [0; 32],
            idempotency_key: Some(fire.fire_at.to_string()),
            // With whatever parameters it was made.
            use_existing: true,
            refresh_cache: false,
            schedule: Some(schedule.id),
            job: None,
            is_child_call: false,
            parent_epoch: None,
            actor: Some(format!("schedule:{}", schedule.key.name)),
            deploy: Some(Arc::new(run)),
        })
    }

    fn run(
        &self,
        schedule: &Schedule,
        fire: Fire,
        id: RunId,
    ) -> Result<(ScheduledRun, Option<Payload>), EngineError> {
        let spec = schedule_spec_of(&schedule.spec)?;
        let parameters = (!spec.parameters.is_empty()).then(|| v1::Payload {
            metadata: BTreeMap::from([("encoding".to_owned(), JSON.into())]),
            data: spec.parameters.clone().into(),
            reference: None,
        });
        let payload = parameters.as_ref().map(|parameters| Payload::inline(parameters.encode_to_vec()));
        let new = v1::NewRun {
            deployment: schedule.key.deployment.name.to_string(),
            placement: (!spec.queue.is_empty()).then(|| v1::new_run::Placement::Queue(spec.queue.clone())),
            tags: spec.tags.clone(),
            job_variables: spec.job_variables.clone(),
            due_at: Some(timestamp_to_proto(fire.due_at)),
            parameters,
            ..v1::NewRun::default()
        };
        let asked = Asked {
            namespace: schedule.key.deployment.namespace.clone(),
            new,
            id,
            prefix: "spec.".to_owned(),
            traceparent: None,
            schemas: Arc::clone(&self.schemas),
        };
        let run = ScheduledRun {
            asked,
            schedule: schedule.key.name.clone(),
            limit: schedule.key.limit().name,
            fire_at: fire.fire_at,
        };
        Ok((run, payload))
    }
}

impl Timetables for Scheduled {
    fn come(&self, schedule: &Schedule, now: Timestamp, most: usize) -> Result<Fires, EngineError> {
        let Some(next) = schedule.progress.next_fire_at else { return Ok(Fires::default()) };
        let spec = schedule_spec_of(&schedule.spec)?;
        Ok(Times::of(&spec, schedule.id, schedule.created_at)?.come(next, now, most))
    }

    fn run_of(&self, schedule: &Schedule, fire: Fire) -> Result<Create, EngineError> {
        self.run_with_id(schedule, fire, RunId::new())
    }
}

/// The run of a time.
#[derive(Debug)]
struct ScheduledRun {
    asked: Asked,
    schedule: ScheduleName,
    /// What keeps its runs from overlapping, where something does.
    limit: String,
    fire_at: Timestamp,
}

impl Deploy for ScheduledRun {
    fn deploy(&self, deployment: &Deployment, pool: Option<&WorkPool>) -> Result<Deployed, EngineError> {
        let mut deployed = self.asked.deploy(deployment, pool)?;
        deployed.draft.schedule = Some(self.schedule.clone());
        deployed.draft.fire_at = Some(self.fire_at);
        // Also where it may overlap: that may change while the run waits.
        deployed.draft.concurrency_limits.push(self.limit.clone());
        Ok(deployed)
    }
}

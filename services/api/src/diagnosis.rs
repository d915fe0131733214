use std::{sync::Arc, time::Duration};

use tidegate_proto::{
    internal::{GetGenerationRequest, delivery_service_client::DeliveryServiceClient},
    v1::{Dependency, DependencyState, GetDiagnosisResponse},
};
use tidegate_service_kit::{Health, health};
use tidegate_store::RunStore;
use tidegate_wire::{duration_to_proto, to_status};
use tokio::time::{Instant, timeout};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;
use tracing::warn;

/// What has not answered by then does not answer. Those that are asked give up on what they ask after 5 s, and tell so.
const PATIENCE: Duration = Duration::from_secs(6);

/// How what the api depends on is found.
pub(crate) struct Diagnosis {
    store: Arc<dyn RunStore>,
    delivery: DeliveryServiceClient<Channel>,
    /// Where its address is known.
    scheduler: Option<Channel>,
}

impl Diagnosis {
    /// Of a store, and of channels to task-queue and the scheduler.
    pub fn new(store: Arc<dyn RunStore>, delivery: Channel, scheduler: Option<Channel>) -> Self {
        Self { store, delivery: DeliveryServiceClient::new(delivery), scheduler }
    }

    /// Asks all of it at once.
    pub async fn look(&self) -> GetDiagnosisResponse {
        let ((store, stored_schema_version), [task_queue, delivery], scheduler) =
            tokio::join!(self.look_at_store(), self.look_at_delivery(), self.look_at_scheduler());
        let dependencies = [store, task_queue, delivery].into_iter().chain(scheduler).collect();
        GetDiagnosisResponse { dependencies, stored_schema_version }
    }

    /// Nothing is asked of the scheduler but how it is. `None`: nobody has said where it is.
    async fn look_at_scheduler(&self) -> Option<Dependency> {
        let asked_at = Instant::now();
        let found = |state, message: &str, took| Some(found("api", "scheduler", state, message, took));
        match health(self.scheduler.clone()?, PATIENCE).await {
            Health::Serving => found(DependencyState::Ok, "", Some(asked_at.elapsed())),
            Health::NotServing => {
                let message =
                    "it is there, and not ready: it comes up or goes down, or one of its loops has failed";
                found(DependencyState::Failed, message, Some(asked_at.elapsed()))
            }
            // Such as a proxy before it.
            Health::Unknown(cause) => {
                let message = format!("who answers at its address does not speak of health: {cause}");
                found(DependencyState::Unknown, &message, None)
            }
            Health::Silent(cause) => found(DependencyState::Failed, &cause, None),
        }
    }

    async fn look_at_store(&self) -> (Dependency, u32) {
        let found = |state, message: &str, took| found("api", "store", state, message, took);
        let asked_at = Instant::now();
        let stored = match timeout(PATIENCE, self.store.stored_schema_version()).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                warn!(?error, "the store does not tell its schema: {error}");
                // As calls tell it: a fault of ours is in the log alone.
                return (found(DependencyState::Failed, to_status(&error).message(), None), 0);
            }
            Err(_) => return (found(DependencyState::Failed, &silence(), None), 0),
        };
        let known = self.store.schema_version();
        let message = if stored < known {
            format!("it has schema {stored}, and the api needs schema {known}")
        } else {
            String::new()
        };
        let state = if stored < known { DependencyState::Failed } else { DependencyState::Ok };
        (found(state, &message, Some(asked_at.elapsed())), stored)
    }

    /// task-queue, and what it depends on: the question goes through to there.
    async fn look_at_delivery(&self) -> [Dependency; 2] {
        let task_queue = |state, message: &str, took| found("api", "task-queue", state, message, took);
        let delivery = |state, message: &str, took| found("task-queue", "delivery", state, message, took);
        let asked_at = Instant::now();
        let answer = timeout(PATIENCE, self.delivery.clone().get_generation(GetGenerationRequest {})).await;
        let took = Some(asked_at.elapsed());
        match answer {
            Ok(Ok(_)) => [task_queue(DependencyState::Ok, "", took), delivery(DependencyState::Ok, "", took)],
            Ok(Err(status)) if is_of_task_queue(&status) => [
                task_queue(DependencyState::Ok, "", took),
                delivery(DependencyState::Failed, status.message(), None),
            ],
            silent => {
                let message = silent.map_or_else(|_| silence(), |status| cause(status.err()));
                let unknown = "task-queue does not answer";
                [
                    task_queue(DependencyState::Failed, &message, None),
                    delivery(DependencyState::Unknown, unknown, None),
                ]
            }
        }
    }
}

/// Errors of ours have a reason; one of the connection has none.
fn is_of_task_queue(status: &Status) -> bool {
    status.get_details_error_info().is_some()
}

fn cause(status: Option<Status>) -> String {
    status.map(|status| format!("{:?}: {}", status.code(), status.message())).unwrap_or_default()
}

fn silence() -> String {
    format!("no answer within {PATIENCE:?}")
}

fn found(
    service: &str,
    name: &str,
    state: DependencyState,
    message: &str,
    took: Option<Duration>,
) -> Dependency {
    Dependency {
        service: service.to_owned(),
        name: name.to_owned(),
        state: state.into(),
        message: message.to_owned(),
        took: took.map(duration_to_proto),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_store::StoreError;

    use super::*;

    #[test]
    fn what_task_queue_says_is_told_from_what_the_connection_says() {
        let said = to_status(&StoreError::Unavailable("gone".into()));
        assert!(is_of_task_queue(&said), "{said:?}");
        assert!(!is_of_task_queue(&Status::unavailable("tcp connect error")));
    }
}

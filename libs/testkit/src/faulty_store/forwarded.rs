//! The ports of which nothing breaks off but the commit: each call is one of the store within.

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_model::{
    ArtifactId, AutomationName, DeploymentName, Namespace, ObjectId, QueueName, RunId, ScheduleId, Timestamp,
    VariableName, WorkPoolName,
};
use tidegate_orchestration::{Arrival, Line};
use tidegate_store::{
    Artifact, ArtifactName, ArtifactQuery, ArtifactRows, ArtifactTx, Automation, AutomationKey,
    AutomationRows, AutomationTx, Awaited, ConcurrencyLimit, Deployment, DeploymentKey, DeploymentTx,
    FilteredFiring, Firing, FiringKey, FiringOutcome, FiringQuery, HandOut, Holders, Judged, LeaseWait,
    LimitKey, LimitRows, LimitSettings, LimitUse, ObjectRow, ObjectRows, Queue, QueueKey, QueueRows, QueueTx,
    Schedule, ScheduleKey, ScheduleProgress, ScheduleQuery, ScheduleRows, ScheduleTx, Slot, SlotTx, SlotWait,
    StoreError, Variable, VariableKey, VariableQuery, VariableRows, VariableTx, VersionedKey, WorkPool,
    WorkPoolKey, WorkPoolRows, WorkPoolTx,
};

use super::{FaultyStore, tx::FaultyTx};

/// A port by its signatures.
macro_rules! forward {
    (impl $port:ident for $store:ident {
        $(fn $method:ident(&mut $this:ident $(, $name:ident: $type:ty)*) $(-> $answer:ty)?;)*
    }) => {
        #[async_trait]
        impl $port for $store {
            $(async fn $method(&mut $this $(, $name: $type)*) $(-> $answer)? {
                $this.inner.$method($($name),*).await
            })*
        }
    };
    (impl $port:ident for $store:ident {
        $(fn $method:ident(&$this:ident $(, $name:ident: $type:ty)*) $(-> $answer:ty)?;)*
    }) => {
        #[async_trait]
        impl $port for $store {
            $(async fn $method(&$this $(, $name: $type)*) $(-> $answer)? {
                $this.inner.$method($($name),*).await
            })*
        }
    };
}

forward! {
    impl ObjectRows for FaultyStore {
        fn announce_object(&self, row: &ObjectRow, now: Timestamp) -> Result<ObjectRow, StoreError>;
        fn get_object(&self, namespace: &Namespace, id: ObjectId) -> Result<Option<ObjectRow>, StoreError>;
        fn complete_object(
            &self, namespace: &Namespace, id: ObjectId, now: Timestamp
        ) -> Result<bool, StoreError>;
        fn take_orphans(
            &self, touched_before: Timestamp, now: Timestamp, limit: usize
        ) -> Result<Judged, StoreError>;
        fn forget_objects(&self, ids: &[ObjectId]) -> Result<(), StoreError>;
    }
}

forward! {
    impl LimitRows for FaultyStore {
        fn put_limit(
            &self, key: &LimitKey, settings: &LimitSettings, now: Timestamp
        ) -> Result<ConcurrencyLimit, StoreError>;
        fn delete_limit(&self, key: &LimitKey) -> Result<bool, StoreError>;
        fn get_limits(&self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError>;
        fn list_limits(
            &self, namespace: &Namespace, after: Option<&str>, now: Timestamp, limit: usize
        ) -> Result<Vec<LimitUse>, StoreError>;
        fn list_slots(&self, key: &LimitKey, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError>;
        fn count_waits(&self, keys: &[LimitKey]) -> Result<Vec<u64>, StoreError>;
        fn next_awaited(&self, after: Option<&LimitKey>) -> Result<Option<LimitKey>, StoreError>;
        fn hand_out(&self, key: &LimitKey, ask: &HandOut) -> Result<Option<Vec<RunId>>, StoreError>;
        fn return_lost(
            &self, key: &LimitKey, handed_before: Timestamp, limit: usize
        ) -> Result<usize, StoreError>;
        fn first_lapse(&self, key: &LimitKey, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
        fn pass_over(
            &self, key: &LimitKey, runs: &[RunId], handed_at: Timestamp
        ) -> Result<(), StoreError>;
        fn clear_slots(&self, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError>;
        fn template_use(&self, key: &LimitKey, now: Timestamp) -> Result<(u64, u64), StoreError>;
        fn slots_to_ask(&self, limit: usize) -> Result<Vec<Slot>, StoreError>;
        fn note_asked(&self, slots: &[Slot]) -> Result<(), StoreError>;
        fn renew_leases(
            &self, namespace: &Namespace, owner: RunId, now: Timestamp, expires_at: Timestamp
        ) -> Result<bool, StoreError>;
        fn handed_leases(&self, owners: &[RunId]) -> Result<Vec<RunId>, StoreError>;
        fn tell_leases(&self);
        fn purge_lease_waits(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;
        fn purge_rates(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;
    }
}

forward! {
    impl SlotTx for FaultyTx {
        fn lock_limits(&mut self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError>;
        fn take_slots(&mut self, slots: &[Slot]) -> Result<(), StoreError>;
        fn free_slots(&mut self, owners: &[RunId]) -> Result<Vec<LimitKey>, StoreError>;
        fn put_waits(&mut self, waits: &[SlotWait]) -> Result<(), StoreError>;
        fn end_waits(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, LimitKey)>, StoreError>;
        fn use_lapses(
            &mut self, lapses: &[(LimitKey, u64)], lapsed_since: Timestamp, now: Timestamp
        ) -> Result<(), StoreError>;
        fn lock_owner(&mut self, owner: RunId) -> Result<(Vec<Slot>, Option<LeaseWait>), StoreError>;
        fn put_lease_wait(&mut self, wait: &LeaseWait) -> Result<bool, StoreError>;
        fn end_lease_wait(
            &mut self, namespace: &Namespace, owner: RunId
        ) -> Result<Option<LimitKey>, StoreError>;
        fn count_line(
            &mut self, keys: &[LimitKey], but: Option<RunId>,
            lapsed_since: Timestamp, now: Timestamp, limit: usize
        ) -> Result<Vec<Line>, StoreError>;
        fn awaited_by(&mut self, runs: &[RunId], now: Timestamp) -> Result<Vec<Awaited>, StoreError>;
        fn put_arrivals(&mut self, arrivals: &[(LimitKey, Arrival)]) -> Result<(), StoreError>;
        fn find_holders(
            &mut self, key: &LimitKey, newest_first: bool, limit: usize
        ) -> Result<Holders, StoreError>;
        fn ask_slots(&mut self, slots: &[(LimitKey, RunId)]) -> Result<(), StoreError>;
    }
}

forward! {
    impl QueueRows for FaultyStore {
        fn get_queues(&self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError>;
        fn list_queues(
            &self, namespace: &Namespace, after: Option<&QueueName>, limit: usize
        ) -> Result<Vec<Queue>, StoreError>;
        fn count_held(&self, key: &QueueKey, limit: usize) -> Result<u64, StoreError>;
    }
}

forward! {
    impl QueueTx for FaultyTx {
        fn read_queues(&mut self, keys: &[QueueKey]) -> Result<Vec<Queue>, StoreError>;
        fn put_queue(&mut self, queue: &Queue) -> Result<(), StoreError>;
        fn delete_queue(&mut self, key: &QueueKey) -> Result<bool, StoreError>;
        fn hold_queue_slots(&mut self, key: &QueueKey, now: Timestamp) -> Result<u64, StoreError>;
    }
}

forward! {
    impl ScheduleRows for FaultyStore {
        fn get_schedule(&self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError>;
        fn list_schedules(&self, query: &ScheduleQuery) -> Result<Vec<Schedule>, StoreError>;
        fn next_schedule_at(&self) -> Result<Option<Timestamp>, StoreError>;
    }
}

forward! {
    impl ScheduleTx for FaultyTx {
        fn lock_schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>, StoreError>;
        fn count_schedules(&mut self, deployment: &DeploymentKey) -> Result<usize, StoreError>;
        fn put_schedule(
            &mut self, schedule: &Schedule, limit: Option<&LimitSettings>
        ) -> Result<(), StoreError>;
        fn delete_schedule(&mut self, key: &ScheduleKey) -> Result<bool, StoreError>;
        fn sweep_schedules(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, StoreError>;
        fn read_deployments(&mut self, keys: &[DeploymentKey]) -> Result<Vec<Deployment>, StoreError>;
        fn advance_schedules(
            &mut self, progress: &[(ScheduleId, ScheduleProgress)]
        ) -> Result<(), StoreError>;
    }
}

forward! {
    impl DeploymentTx for FaultyTx {
        fn lock_deployment(&mut self, key: &DeploymentKey) -> Result<Option<Deployment>, StoreError>;
        fn count_deployments(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError>;
        fn put_deployment(
            &mut self, deployment: &Deployment, created_by: Option<&str>,
            limit: Option<&LimitSettings>, n_kept: usize
        ) -> Result<(), StoreError>;
        fn delete_deployment(&mut self, key: &DeploymentKey) -> Result<bool, StoreError>;
    }
}

forward! {
    impl WorkPoolRows for FaultyStore {
        fn get_work_pools(&self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError>;
        fn list_work_pools(
            &self, namespace: &Namespace, after: Option<&WorkPoolName>, limit: usize
        ) -> Result<Vec<WorkPool>, StoreError>;
        fn list_work_pool_names(
            &self, namespace: &Namespace, limit: usize
        ) -> Result<Vec<WorkPoolName>, StoreError>;
        fn count_held_in_work_pool(&self, key: &WorkPoolKey, limit: usize) -> Result<u64, StoreError>;
    }
}

forward! {
    impl WorkPoolTx for FaultyTx {
        fn read_work_pools(&mut self, keys: &[WorkPoolKey]) -> Result<Vec<WorkPool>, StoreError>;
        fn keep_work_pool(&mut self, key: &WorkPoolKey) -> Result<bool, StoreError>;
        fn count_work_pools(&mut self, namespace: &Namespace, limit: usize) -> Result<usize, StoreError>;
        fn put_work_pool(
            &mut self, pool: &WorkPool, max_slots: Option<Option<u32>>
        ) -> Result<(), StoreError>;
        fn delete_work_pool(&mut self, key: &WorkPoolKey) -> Result<Option<DeploymentName>, StoreError>;
        fn get_jobs(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Bytes)>, StoreError>;
    }
}

forward! {
    impl ArtifactRows for FaultyStore {
        fn get_artifact(
            &self, namespace: &Namespace, name: &ArtifactName
        ) -> Result<Option<Artifact>, StoreError>;
        fn list_artifacts(&self, query: &ArtifactQuery) -> Result<Vec<Artifact>, StoreError>;
    }
}

forward! {
    impl ArtifactTx for FaultyTx {
        fn find_artifacts(&mut self, ids: &[ArtifactId]) -> Result<Vec<Artifact>, StoreError>;
        fn count_artifacts(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, u64)>, StoreError>;
        fn take_versions(
            &mut self, keys: &[(VersionedKey, u64)], now: Timestamp
        ) -> Result<Vec<u64>, StoreError>;
        fn insert_artifacts(&mut self, artifacts: &[Artifact]) -> Result<usize, StoreError>;
        fn delete_versions(&mut self, up_to: &[(VersionedKey, u64)]) -> Result<(), StoreError>;
        fn lock_artifact(
            &mut self, namespace: &Namespace, id: ArtifactId
        ) -> Result<Option<Artifact>, StoreError>;
        fn update_artifact(&mut self, artifact: &Artifact) -> Result<(), StoreError>;
        fn delete_artifact(&mut self, namespace: &Namespace, id: ArtifactId) -> Result<bool, StoreError>;
    }
}

forward! {
    impl VariableRows for FaultyStore {
        fn get_variables(
            &self, namespace: &Namespace, names: &[VariableName]
        ) -> Result<Vec<Variable>, StoreError>;
        fn list_variables(&self, query: &VariableQuery) -> Result<Vec<Variable>, StoreError>;
    }
}

forward! {
    impl VariableTx for FaultyTx {
        fn lock_variable(&mut self, key: &VariableKey) -> Result<Option<Variable>, StoreError>;
        fn count_variables(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError>;
        fn insert_variable(&mut self, variable: &Variable) -> Result<bool, StoreError>;
        fn update_variable(&mut self, variable: &Variable) -> Result<(), StoreError>;
        fn delete_variable(&mut self, key: &VariableKey) -> Result<(), StoreError>;
    }
}

forward! {
    impl AutomationRows for FaultyStore {
        fn get_automation(&self, key: &AutomationKey) -> Result<Option<Automation>, StoreError>;
        fn list_automations(
            &self, namespace: &Namespace, after: Option<&AutomationName>, limit: usize
        ) -> Result<Vec<Automation>, StoreError>;
        fn list_firings(
            &self, key: &AutomationKey, after: Option<(RunId, u64)>, limit: usize
        ) -> Result<Vec<Firing>, StoreError>;
        fn firings_to_filter(&self, limit: usize) -> Result<Vec<Firing>, StoreError>;
    }
}

forward! {
    impl AutomationTx for FaultyTx {
        fn lock_automation(&mut self, key: &AutomationKey) -> Result<Option<Automation>, StoreError>;
        fn count_automations(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError>;
        fn insert_automation(&mut self, automation: &Automation) -> Result<bool, StoreError>;
        fn update_automation(&mut self, automation: &Automation) -> Result<(), StoreError>;
        fn clear_firings(&mut self, key: &AutomationKey, limit: usize) -> Result<usize, StoreError>;
        fn delete_automation(&mut self, key: &AutomationKey) -> Result<(), StoreError>;
        fn filter_firings(&mut self, filtered: &[FilteredFiring]) -> Result<(), StoreError>;
        fn take_firings(&mut self, query: &FiringQuery) -> Result<Vec<Firing>, StoreError>;
        fn finish_firings(
            &mut self, finished: &[(FiringKey, u32, FiringOutcome)], now: Timestamp
        ) -> Result<(), StoreError>;
        fn pause_crowded(&mut self, most: usize, error: &str) -> Result<Vec<AutomationKey>, StoreError>;
        fn purge_firings(
            &mut self, given_up_before: Timestamp, limit: usize
        ) -> Result<usize, StoreError>;
    }
}

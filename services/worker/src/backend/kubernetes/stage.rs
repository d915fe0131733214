//! What a Job and its pod say of how far they are.

use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus},
};

use super::{
    super::{Exit, StartError, of_code},
    manifest::{SOURCE, container_of},
};
use crate::source::EXIT_NO_CODE;

/// What is known of a Job.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) job: Option<Job>,
    pub(super) is_job_gone: bool,
    pub(super) pod: Option<Pod>,
    pub(super) is_pod_gone: bool,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// It has not begun: with what people may want to know of that.
    Waiting(Option<String>),
    /// It executes.
    Executing,
    /// It has ended.
    Ended(Exit),
    /// It has no end of its own, and will not begin or go on.
    Broken(Exit),
    /// It seems to have ended, for this cause unless its pod tells another, which may be yet to come.
    Unclear(Exit),
}

/// Why a container waits where waiting longer does not help.
const HOPELESS: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

impl Seen {
    /// How far the job is.
    pub(super) fn stage(&self) -> Stage {
        let Some(pod) = &self.pod else { return self.without_pod() };
        let status = pod.status.clone().unwrap_or_default();
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        if let Some(exit) = end_of(pod, &status) {
            let is_by_deadline = is_ending && exit != Exit::Code(0);
            return Stage::Ended(self.deadline().filter(|_| is_by_deadline).unwrap_or(exit));
        }
        let disruption = disruption(&status);
        if self.is_pod_gone {
            let cause = disruption.unwrap_or_else(|| "its pod was deleted before it had ended".into());
            return Stage::Broken(Exit::Reason(cause));
        }
        // Of a node that is lost nobody hears an end.
        if is_ending && let Some(cause) = disruption {
            return Stage::Broken(Exit::Reason(cause));
        }
        if status.reason.as_deref() == Some("NodeLost") {
            return Stage::Broken(Exit::Reason(told("NodeLost", status.message.as_deref())));
        }
        let all = statuses(&status);
        let hopeless = all.iter().find_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref().filter(|reason| HOPELESS.contains(reason))?;
            Some(told(reason, waiting.message.as_deref()))
        });
        if let Some(cause) = hopeless {
            return Stage::Broken(Exit::Reason(cause));
        }
        let runs = own(pod, &status).and_then(|own| own.state.as_ref()).is_some_and(|s| s.running.is_some());
        if runs {
            return Stage::Executing;
        }
        let unscheduled = condition(&status, "PodScheduled").filter(|condition| condition.status == "False");
        Stage::Waiting(unscheduled.map(|condition| of_condition(condition, "Unschedulable")))
    }

    /// What a job waits for that has not begun.
    pub(super) fn waits_for(&self) -> &str {
        let Some(pod) = &self.pod else { return "its Job has no pod yet" };
        let fetches = |container: &&ContainerStatus| {
            container.name == SOURCE && container.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        if pod.status.iter().flat_map(statuses).any(|container| fetches(&container)) {
            return "its code is fetched";
        }
        let all = pod.status.iter().flat_map(statuses);
        let mut reasons =
            all.filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
        reasons.next().unwrap_or("its pod is being placed")
    }

    /// True where nothing runs any more that would have to be ended.
    pub(super) fn has_finished(&self) -> bool {
        let phase = self.pod.as_ref().and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn without_pod(&self) -> Stage {
        if let Some(failed) = self.failure() {
            let cause = told(failed.reason.as_deref().unwrap_or("Failed"), failed.message.as_deref());
            return Stage::Unclear(Exit::Reason(cause));
        }
        if self.holds("Complete").is_some() {
            return Stage::Unclear(Exit::Code(0));
        }
        if self.is_job_gone {
            return Stage::Unclear(Exit::Reason("its Job was deleted before it had begun".into()));
        }
        Stage::Waiting(None)
    }
}

impl Seen {
    fn holds(&self, r#type: &str) -> Option<&JobCondition> {
        let conditions = self.job.as_ref()?.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == r#type && condition.status == "True")
    }

    fn failure(&self) -> Option<&JobCondition> {
        self.holds("Failed").or_else(|| self.holds("FailureTarget"))
    }

    /// Its time by the template (`activeDeadlineSeconds`) is over.
    fn deadline(&self) -> Option<Exit> {
        let failure =
            self.failure().filter(|failure| failure.reason.as_deref() == Some("DeadlineExceeded"))?;
        Some(Exit::Reason(told("DeadlineExceeded", failure.message.as_deref())))
    }
}

/// The end of a pod, or of its container that executes the run: others beside it may go on.
fn end_of(pod: &Pod, status: &PodStatus) -> Option<Exit> {
    let has_failed = status.phase.as_deref() == Some("Failed");
    if has_failed && let Some(reason) = status.reason.as_deref().filter(|reason| !reason.is_empty()) {
        return Some(Exit::Reason(told(reason, status.message.as_deref())));
    }
    if disruption(status).is_none()
        && let Some(error) = unfetched(status)
    {
        return Some(Exit::NotBegun(error));
    }
    let ended = |container: &ContainerStatus| container.state.as_ref()?.terminated.clone();
    if let Some(terminated) = own(pod, status).and_then(ended) {
        return Some(of_terminated(pod, status, &terminated));
    }
    if has_failed {
        let failed = statuses(status).into_iter().find_map(|container| {
            let terminated = ended(container).filter(|terminated| terminated.exit_code != 0)?;
            Some(format!(
                "the container `{}` of its pod ended with exit code {}",
                container.name, terminated.exit_code
            ))
        });
        let cause = failed
            .or_else(|| disruption(status))
            .unwrap_or_else(|| told("Failed", status.message.as_deref()));
        return Some(Exit::Reason(cause));
    }
    (status.phase.as_deref() == Some("Succeeded")).then_some(Exit::Code(0))
}

/// Why the code of a run is not there.
fn unfetched(status: &PodStatus) -> Option<StartError> {
    let container = status.init_container_statuses.as_ref()?.iter().find(|found| found.name == SOURCE)?;
    let ended = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let said = ended.message.as_deref().map(str::trim).filter(|said| !said.is_empty());
    let lacks_program =
        ended.exit_code == 127 || said.is_some_and(|said| said.contains("executable file not found"));
    Some(match said {
        _ if lacks_program => StartError::Job(format!(
            "the code is fetched in the pod, and the image {} has no program `tidegate` for that: start the worker with \
             `--source-image` and an image that has it, such as its own, or build the job's image FROM that",
            container.image
        )),
        Some(said) if ended.exit_code == i32::from(EXIT_NO_CODE) => StartError::Job(said.to_owned()),
        Some(said) if ended.exit_code == 1 => StartError::Passing(said.to_owned()),
        said => {
            let reason = ended.reason.as_deref().unwrap_or("Error");
            let code = ended.exit_code;
            StartError::Passing(format!(
                "the code was not fetched: {} (exit code {code})",
                told(reason, said)
            ))
        }
    })
}

fn of_terminated(pod: &Pod, status: &PodStatus, terminated: &ContainerStateTerminated) -> Exit {
    let code = terminated.exit_code;
    if terminated.reason.as_deref() == Some("OOMKilled") {
        let limit = pod.spec.as_ref().and_then(container_of).and_then(|container| {
            let limits = container.resources.as_ref()?.limits.as_ref()?;
            limits.get("memory").map(|limit| format!(" of {}", limit.0))
        });
        let limit = limit.unwrap_or_default();
        return Exit::Reason(format!(
            "OOMKilled: it was out of memory at its limit{limit}; the job variable `memory_limit` says how much it gets"
        ));
    }
    if code != 0
        && let Some(cause) = disruption(status)
    {
        return Exit::Reason(cause);
    }
    if code != 0
        && matches!(
            terminated.reason.as_deref(),
            Some("ContainerStatusUnknown" | "StartError" | "ContainerCannotRun")
        )
    {
        let reason = terminated.reason.as_deref().unwrap_or_default();
        return Exit::Reason(told(reason, terminated.message.as_deref()));
    }
    if code != 0 && pod.metadata.deletion_timestamp.is_some() {
        return Exit::Reason(format!("its pod was deleted, and it ended with exit code {code}"));
    }
    of_code(code)
}

/// Why the cluster has ended a pod: `EvictionByEvictionAPI: …`, `DeletionByTaintManager: …`.
fn disruption(status: &PodStatus) -> Option<String> {
    let condition = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let cause = of_condition(condition, "DisruptionTarget");
    let is_of_node =
        matches!(condition.reason.as_deref(), Some("DeletionByTaintManager" | "DeletionByPodGC"));
    Some(if is_of_node { format!("its node was lost: {cause}") } else { cause })
}

fn condition<'a>(status: &'a PodStatus, r#type: &str) -> Option<&'a PodCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == r#type)
}

fn of_condition(condition: &PodCondition, otherwise: &str) -> String {
    told(condition.reason.as_deref().unwrap_or(otherwise), condition.message.as_deref())
}

fn own<'a>(pod: &Pod, status: &'a PodStatus) -> Option<&'a ContainerStatus> {
    let name = &pod.spec.as_ref().and_then(container_of)?.name;
    status.container_statuses.as_ref()?.iter().find(|container| container.name == *name)
}

fn statuses(status: &PodStatus) -> Vec<&ContainerStatus> {
    let (init, own) = (&status.init_container_statuses, &status.container_statuses);
    init.iter().chain(own).flatten().collect()
}

fn told(reason: &str, message: Option<&str>) -> String {
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Seen {
        let limits = json!({"limits": {"memory": "512Mi"}});
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "proxy"}, {"name": "job", "resources": limits}]},
            "status": status,
        });
        Seen { pod: Some(serde_json::from_value(pod).unwrap()), ..Default::default() }
    }

    fn container(state: Value) -> Value {
        json!({"name": "job", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    fn with(state: Value) -> Stage {
        pod(json!({"phase": "Pending", "containerStatuses": [container(state)]})).stage()
    }

    fn reason(cause: &str) -> Exit {
        Exit::Reason(cause.into())
    }

    #[test]
    fn a_container_that_has_ended_is_told_by_its_code() {
        let ended = |code: i32| with(json!({"terminated": {"exitCode": code, "reason": "Error"}}));
        assert_eq!(ended(0), Stage::Ended(Exit::Code(0)));
        assert_eq!(ended(3), Stage::Ended(Exit::Code(3)));
        assert_eq!(ended(139), Stage::Ended(Exit::Signal { number: 11, note: String::new() }));
        assert_eq!(ended(255), Stage::Ended(Exit::Code(255)));
        let Stage::Ended(exit) = with(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})) else {
            panic!("it has ended")
        };
        assert!(
            exit.cause().starts_with("OOMKilled: it was out of memory at its limit of 512Mi"),
            "{exit:?}"
        );
    }

    #[test]
    fn what_cannot_begin_is_broken_at_once() {
        for reason in HOPELESS {
            let stage = with(json!({"waiting": {"reason": reason, "message": "no such image"}}));
            assert_eq!(stage, Stage::Broken(Exit::Reason(format!("{reason}: no such image"))));
        }
        assert_eq!(with(json!({"waiting": {"reason": "ContainerCreating"}})), Stage::Waiting(None));
        assert_eq!(with(json!({"running": {}})), Stage::Executing);
    }

    #[test]
    fn a_pod_without_a_node_says_why() {
        let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"});
        let seen = pod(json!({"phase": "Pending", "conditions": [unscheduled]}));
        assert_eq!(seen.stage(), Stage::Waiting(Some("Unschedulable: 0/3 nodes".into())));
    }

    #[test]
    fn code_that_cannot_be_fetched_is_told() {
        let fetched = |state: Value| {
            let source = json!({
                "name": SOURCE, "image": "etl:1", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            });
            pod(json!({"phase": "Pending", "initContainerStatuses": [source]}))
        };
        let ended = |code: i32, message: &str| {
            let seen =
                fetched(json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}}));
            match seen.stage() {
                Stage::Ended(Exit::NotBegun(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        let job = |message: &str| StartError::Job(message.into());
        let passing = |message: &str| StartError::Passing(message.into());
        assert_eq!(ended(65, "there is no branch `mian`\n"), job("there is no branch `mian`"));
        assert_eq!(ended(1, "the server says 503\n"), passing("the server says 503"));
        assert_eq!(ended(137, ""), passing("the code was not fetched: Error (exit code 137)"));
        let lacks = ended(128, "exec: \"tidegate\": executable file not found in $PATH").to_string();
        assert!(lacks.contains("image etl:1 has no program") && lacks.contains("--source-image"), "{lacks}");
        let seen = fetched(json!({"running": {}}));
        assert_eq!((seen.stage(), seen.waits_for()), (Stage::Waiting(None), "its code is fetched"));
    }

    #[test]
    fn evictions_and_lost_nodes_are_told() {
        let evicted = pod(json!({
            "phase": "Failed", "reason": "Evicted", "message": "The node was low on memory.",
            "containerStatuses": [container(json!({"terminated": {"exitCode": 137, "reason": "Error"}}))],
        }));
        assert_eq!(evicted.stage(), Stage::Ended(reason("Evicted: The node was low on memory.")));
        assert!(evicted.has_finished());

        let target = |reason: &str| json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "by the cluster"}]);
        let mut lost = pod(json!({"phase": "Running", "conditions": target("DeletionByTaintManager")}));
        assert_eq!(lost.stage(), Stage::Waiting(None), "it may go on yet");
        let deleted = json!("2026-01-01T00:00:00Z");
        lost.pod.as_mut().unwrap().metadata.deletion_timestamp = serde_json::from_value(deleted).unwrap();
        let told = "its node was lost: DeletionByTaintManager: by the cluster";
        assert_eq!(lost.stage(), Stage::Broken(reason(told)));

        let state = json!({"terminated": {"exitCode": 143, "reason": "Error"}});
        let evicted = pod(json!({
            "phase": "Failed", "conditions": target("EvictionByEvictionAPI"), "containerStatuses": [container(state)],
        }));
        assert_eq!(evicted.stage(), Stage::Ended(reason("EvictionByEvictionAPI: by the cluster")));

        let mut gone = pod(json!({"phase": "Running"}));
        gone.is_pod_gone = true;
        assert_eq!(gone.stage(), Stage::Broken(reason("its pod was deleted before it had ended")));
    }

    #[test]
    fn the_pod_knows_better_than_the_job() {
        let failed = json!({"status": {"conditions": [
            {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"},
        ]}});
        let job = Some(serde_json::from_value(failed).unwrap());
        let told = reason("DeadlineExceeded: Job was active too long");
        assert_eq!(Seen { job: job.clone(), ..Default::default() }.stage(), Stage::Unclear(told));
        let state = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
        let seen = Seen { job, ..pod(json!({"phase": "Failed", "containerStatuses": [container(state)]})) };
        assert_eq!(seen.stage(), Stage::Ended(Exit::Code(3)));
        let gone = Seen { is_job_gone: true, ..Default::default() };
        assert_eq!(gone.stage(), Stage::Unclear(reason("its Job was deleted before it had begun")));
    }
}

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use tidegate_engine::TakenFiring;
use tidegate_orchestration::{Placement, Run};
use tidegate_store::{Firing, FiringKey};

/// What a web server is told, as the comment of `tidegate.v1.Webhook` has it. What there is none of is null.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: String,
    text: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    automation: &'a str,
    namespace: &'a str,
    event: EventFacts<'a>,
    run: RunFacts<'a>,
}

/// What set the automation off.
#[derive(Serialize)]
struct EventFacts<'a> {
    seq: u64,
    state: &'static str,
    state_name: &'static str,
    message: &'a str,
    attempt: u32,
    ended: bool,
    occurred_at: String,
}

/// The run as it is now: it may have moved on.
#[derive(Serialize)]
struct RunFacts<'a> {
    id: String,
    kind: &'static str,
    name: &'a str,
    run_name: &'a str,
    state: &'static str,
    state_name: &'static str,
    message: &'a str,
    attempt: u32,
    crashes: u32,
    parent_run_id: Option<String>,
    root_run_id: String,
    deployment: Option<&'a str>,
    queue: Option<&'a str>,
    work_pool: Option<&'a str>,
    tags: &'a [String],
    labels: &'a BTreeMap<String, String>,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
}

/// Names what is told, the same in every try: one event of a run, told for one automation. Events of a run that was given the
/// id of a deleted one have the names of that one's. A full stop would part what is signed, so those of a name become `~`,
/// which no name has.
pub(super) fn message_id(key: &FiringKey) -> String {
    let automation = key.automation.name.as_str().replace('.', "~");
    format!("msg_{}_{}_{automation}", key.run_id, key.seq)
}

/// As JSON.
pub(super) fn body(taken: &TakenFiring) -> Vec<u8> {
    let TakenFiring { firing, run, .. } = taken;
    let occurred_at = firing.at.to_string();
    let body = Body {
        r#type: "tidegate.run.state",
        timestamp: occurred_at.clone(),
        text: sentence(firing, run),
        data: Data {
            automation: firing.key.automation.name.as_str(),
            namespace: firing.key.automation.namespace.as_str(),
            event: EventFacts {
                seq: firing.key.seq,
                state: firing.state_type.as_str(),
                state_name: firing.state_name.as_str(),
                message: &firing.message,
                attempt: firing.attempt,
                ended: firing.ended,
                occurred_at,
            },
            run: run_facts(run),
        },
    };
    serde_json::to_vec(&body).expect("texts and numbers are JSON")
}

fn run_facts(run: &Run) -> RunFacts<'_> {
    let state_type = run.state.state_type();
    RunFacts {
        id: run.id.to_string(),
        kind: run.kind.as_str(),
        name: run.name.as_str(),
        run_name: &run.run_name,
        state: state_type.as_str(),
        state_name: run.state.name.as_str(),
        message: &run.state.message,
        attempt: run.attempt,
        crashes: run.crashes,
        parent_run_id: run.parent.map(|parent| parent.to_string()),
        root_run_id: run.root.to_string(),
        deployment: run.deployment.as_deref(),
        queue: match &run.placement {
            Placement::Queue(queue) => Some(queue.as_str()),
            Placement::Session(_) => None,
        },
        work_pool: run.work_pool.as_ref().map(|pool| pool.as_str()),
        tags: &run.tags,
        labels: &run.labels,
        created_at: run.created_at.to_string(),
        started_at: run.started_at.map(|at| at.to_string()),
        ended_at: state_type.is_terminal().then(|| run.state.at.to_string()),
    }
}

/// For people: `flow nightly (run brave-otter, 0190…) is CRASHED: lease lost: …`.
fn sentence(firing: &Firing, run: &Run) -> String {
    let mut text = String::new();
    if firing.state_type.is_terminal() && !firing.ended {
        let _ = write!(text, "attempt {} of ", firing.attempt);
    }
    let _ =
        write!(text, "{} {} (run {}, {}) is {}", run.kind, run.name, run.run_name, run.id, firing.state_type);
    let name = firing.state_name.as_str();
    if !name.eq_ignore_ascii_case(firing.state_type.as_str()) {
        let _ = write!(text, " ({name})");
    }
    if !firing.message.is_empty() {
        let _ = write!(text, ": {}", firing.message);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_model::{AutomationRevision, Namespace, RunId, RunKind, SessionId, Timestamp};
    use tidegate_orchestration::{Draft, Phase, State, StateName, StateType, create};
    use tidegate_store::{Automation, AutomationKey, AutomationRecord, Trigger};

    use super::*;

    const RUN: &str = "01900000-0000-7000-8000-000000000001";
    const PARENT: &str = "01900000-0000-7000-8000-000000000002";
    const ROOT: &str = "01900000-0000-7000-8000-000000000003";
    const CREATED: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);
    const CRASHED: Timestamp = Timestamp::from_micros(1_795_000_060_250_000);

    fn id(text: &str) -> RunId {
        text.parse().expect("is an id")
    }

    /// A run of a deployment of which all is said.
    fn full() -> Run {
        let queue = Placement::Queue("night".parse().expect("is a name"));
        let mut draft = Draft::new(id(RUN), RunKind::Flow, "nightly".parse().expect("is a name"), queue);
        draft.run_name = "brave-otter".to_owned();
        draft.deployment = Some("nightly/eu".to_owned());
        draft.work_pool = Some("site".parse().expect("is a name"));
        draft.tags = vec!["nightly".to_owned(), "eu".to_owned()];
        draft.labels = [("team".to_owned(), "ml".to_owned())].into();
        let mut run = create(draft, None, CREATED).expect("needs no parent").run;
        run.parent = Some(id(PARENT));
        run.root = id(ROOT);
        run.attempt = 2;
        run.crashes = 1;
        run.started_at = Some(CREATED);
        run.state = State::new(Phase::Crashed, CRASHED).described(StateName::Crashed, "lease lost: w");
        run
    }

    /// A local task of which as good as nothing is said.
    fn bare() -> Run {
        let session = Placement::Session(SessionId::new());
        let mut draft = Draft::new(id(RUN), RunKind::Task, "load".parse().expect("is a name"), session);
        draft.run_name = "load-1".to_owned();
        create(draft, None, CREATED).expect("needs no parent").run
    }

    fn taken(
        run: Run,
        state_type: StateType,
        state_name: StateName,
        message: &str,
        ended: bool,
    ) -> TakenFiring {
        let key =
            AutomationKey { namespace: Namespace::default(), name: "page.me".parse().expect("is a name") };
        let firing = Firing {
            key: FiringKey { automation: key.clone(), run_id: run.id, seq: 4 },
            state_type,
            state_name,
            message: message.to_owned(),
            at: CRASHED,
            attempt: 2,
            ended,
            n_tries: 1,
            last_error: String::new(),
            due_at: CRASHED,
            is_given_up: false,
        };
        let automation = Automation {
            key,
            description: String::new(),
            trigger: Trigger {
                states: vec![state_type],
                state_names: Vec::new(),
                filter: String::new(),
                each_attempt: false,
            },
            action: Default::default(),
            is_paused: false,
            record: AutomationRecord::default(),
            revision: AutomationRevision::new(),
            created_at: CREATED,
            updated_at: CREATED,
        };
        TakenFiring { firing, automation, run }
    }

    fn json_of(taken: &TakenFiring) -> Value {
        serde_json::from_slice(&body(taken)).expect("is JSON")
    }

    #[test]
    fn a_crash_is_told_with_its_run() {
        let taken = taken(full(), StateType::Crashed, StateName::Crashed, "lease lost: w", true);
        let (created_at, crashed_at) = (CREATED.to_string(), CRASHED.to_string());
        let expected = json!({
            "type": "tidegate.run.state",
            "timestamp": crashed_at,
            "text": format!("flow nightly (run brave-otter, {RUN}) is CRASHED: lease lost: w"),
            "data": {
                "automation": "page.me",
                "namespace": "default",
                "event": {
                    "seq": 4,
                    "state": "CRASHED",
                    "state_name": "Crashed",
                    "message": "lease lost: w",
                    "attempt": 2,
                    "ended": true,
                    "occurred_at": crashed_at,
                },
                "run": {
                    "id": RUN,
                    "kind": "flow",
                    "name": "nightly",
                    "run_name": "brave-otter",
                    "state": "CRASHED",
                    "state_name": "Crashed",
                    "message": "lease lost: w",
                    "attempt": 2,
                    "crashes": 1,
                    "parent_run_id": PARENT,
                    "root_run_id": ROOT,
                    "deployment": "nightly/eu",
                    "queue": "night",
                    "work_pool": "site",
                    "tags": ["nightly", "eu"],
                    "labels": {"team": "ml"},
                    "created_at": created_at,
                    "started_at": created_at,
                    "ended_at": crashed_at,
                },
            },
        });
        assert_eq!(json_of(&taken), expected);
        assert_eq!(message_id(&taken.firing.key), format!("msg_{RUN}_4_page~me"));
    }

    #[test]
    fn the_event_is_told_as_it_was_and_the_run_as_it_is() {
        let mut taken = taken(full(), StateType::Crashed, StateName::Crashed, "lease lost: w", false);
        let later = CRASHED + std::time::Duration::from_secs(5);
        taken.run.state = State::new(Phase::Scheduled, later).described(StateName::Late, "no worker");
        let told = json_of(&taken);
        let (event, run) = (&told["data"]["event"], &told["data"]["run"]);
        assert_eq!((&event["state"], &event["state_name"]), (&json!("CRASHED"), &json!("Crashed")));
        assert_eq!((&event["message"], &event["ended"]), (&json!("lease lost: w"), &json!(false)));
        assert_eq!((&run["state"], &run["state_name"]), (&json!("SCHEDULED"), &json!("Late")));
        assert_eq!((&run["message"], &run["ended_at"]), (&json!("no worker"), &Value::Null));
        assert_eq!(told["timestamp"], CRASHED.to_string());
    }

    #[test]
    fn what_there_is_none_of_is_null() {
        let told = json_of(&taken(bare(), StateType::Scheduled, StateName::Scheduled, "", false));
        let run = &told["data"]["run"];
        for field in ["parent_run_id", "deployment", "queue", "work_pool", "started_at", "ended_at"] {
            assert_eq!(run.get(field), Some(&Value::Null), "{field}");
        }
        assert_eq!(run["root_run_id"], RUN);
        assert_eq!((&run["tags"], &run["labels"]), (&json!([]), &json!({})));
    }

    #[test]
    fn a_sentence_says_what_happened() {
        for (state_type, state_name, message, ended, expected) in [
            (StateType::Completed, StateName::Completed, "", true, "is COMPLETED"),
            (StateType::Failed, StateName::TimedOut, "took 60s", true, "is FAILED (TimedOut): took 60s"),
            (StateType::Scheduled, StateName::Late, "", false, "is SCHEDULED (Late)"),
            (StateType::Completed, StateName::Cached, "", true, "is COMPLETED (Cached)"),
        ] {
            let told = json_of(&taken(bare(), state_type, state_name, message, ended));
            assert_eq!(told["text"], format!("task load (run load-1, {RUN}) {expected}"));
        }
        let told = json_of(&taken(bare(), StateType::Crashed, StateName::Crashed, "OOM", false));
        assert_eq!(told["text"], format!("attempt 2 of task load (run load-1, {RUN}) is CRASHED: OOM"));
    }
}

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    payload,
    proto::{NewRun, new_run::Placement},
    runtime,
};

/// Numbers the calls in one attempt of a run, so that a later attempt, which makes the same ones, finds the children of
/// this one and their results (promise P4). Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct ChildCalls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parent_run_id: String,
    parent_epoch: u64,
    pid: u32,
    /// How many calls there were so far of each function with the same parameters.
    counts: Mutex<HashMap<u64, u32>>,
}

impl ChildCalls {
    /// Of the attempt that is executed under `parent_epoch`.
    pub fn new(parent_run_id: impl Into<String>, parent_epoch: u64) -> Self {
        let shared = Shared {
            parent_run_id: parent_run_id.into(),
            parent_epoch,
            pid: std::process::id(),
            counts: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes `run`, which is complete but for this, a child of the attempt and counts it as its next call. One with an
    /// idempotency key is found by that.
    pub fn count(&self, run: &mut NewRun) {
        self.adopt(run);
        // A forked process counts by itself, and would take the children of the other for its own.
        if run.idempotency_key.is_empty() && runtime::is_of_this_process(self.shared.pid) {
            let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let n = counts.entry(sameness(run)).or_default();
            *n += 1;
            run.child_call = *n;
        }
    }

    /// Makes `run` a child of the attempt that no later attempt finds: that one starts another.
    pub fn adopt(&self, run: &mut NewRun) {
        run.parent_run_id.clone_from(&self.shared.parent_run_id);
        run.parent_epoch = self.shared.parent_epoch;
    }
}

/// Equal for calls of the same function or deployment with the same parameters, executed here or queued. Where two others have the
/// same number as well, they are counted together, in every attempt alike.
fn sameness(run: &NewRun) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A run of a deployment goes to the queue of that where it names none.
    let is_queued = matches!(run.placement, Some(Placement::Queue(_))) || !run.deployment.is_empty();
    let parameters = run.parameters.as_ref().map(payload::identity);
    (is_queued, run.kind, &run.name, &run.deployment, parameters).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, parameters: &str, queue: Option<&str>) -> NewRun {
        NewRun {
            name: name.into(),
            placement: queue.map(|queue| Placement::Queue(queue.into())),
            parameters: Some(payload::encoded("json/plain", parameters.as_bytes().to_vec())),
            ..Default::default()
        }
    }

    fn number(calls: &ChildCalls, mut run: NewRun) -> u32 {
        calls.count(&mut run);
        assert_eq!((run.parent_run_id.as_str(), run.parent_epoch), ("p", 3));
        run.child_call
    }

    #[test]
    fn same_calls_of_an_attempt_are_numbered() {
        let calls = ChildCalls::new("p", 3);
        assert_eq!(number(&calls, call("a", "1", None)), 1);
        assert_eq!(number(&calls, call("a", "2", None)), 1, "other parameters");
        assert_eq!(number(&calls, call("b", "1", None)), 1, "another function");
        assert_eq!(number(&calls, call("a", "1", Some("q"))), 1, "queued");
        assert_eq!(number(&calls.clone(), call("a", "1", None)), 2);
        assert_eq!(number(&calls, call("a", "1", Some("other"))), 2, "whichever queue");
        assert_eq!(number(&ChildCalls::new("p", 3), call("a", "1", None)), 1, "another attempt");
        let of = |deployment: &str| NewRun { deployment: deployment.into(), ..call("", "1", None) };
        assert_eq!(
            (number(&calls, of("a/x")), number(&calls, of("a/y")), number(&calls, of("a/x"))),
            (1, 1, 2)
        );
    }

    #[test]
    fn a_key_of_the_callers_own_is_kept() {
        let keyed = NewRun { idempotency_key: "mine".into(), ..call("a", "1", None) };
        assert_eq!(number(&ChildCalls::new("p", 3), keyed), 0);
    }

    #[test]
    fn a_call_that_is_not_to_be_found_again_has_no_number() {
        let mut run = call("a", "1", None);
        ChildCalls::new("p", 3).adopt(&mut run);
        assert_eq!((run.parent_run_id.as_str(), run.parent_epoch, run.child_call), ("p", 3, 0));
    }
}

use tidegate_model::{Epoch, RunId, Timestamp};

use crate::{Run, State, StateType};

/// What is to be done outside the store after a step is committed. All of it can be lost without harm:
/// the scheduler's sweeps find what was left undone.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Deliver the run when it is due.
    Enqueue,
    /// Forget its delivery, and tell its holder to stop the code it executes under `epoch`.
    Stop {
        /// The epoch under which it was held or enqueued.
        epoch: Epoch,
        /// True when the run is no longer the holder's, so that nothing is to be reported.
        lost: bool,
    },
    /// Bring about the end of its children.
    Cascade,
}

/// What an event does to a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The run afterwards.
    pub run: Run,
    /// The states it entered, in order, one event each. Empty: a repeat of what was done before.
    pub transitions: Vec<State>,
    /// What is to be done after the commit.
    pub effects: Vec<Effect>,
}

/// Why an event changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The report bears another epoch: the run was taken away from its holder.
    #[error("the run's epoch is {current}, so a report of another one changes nothing: drop the work")]
    StaleEpoch {
        /// The run's epoch now.
        current: Epoch,
    },
    /// The state does not allow it.
    #[error("a run that is {from} does not take `{event}`")]
    NotAllowed {
        /// The run's state now.
        from: StateType,
        /// The event's name.
        event: &'static str,
    },
    /// It is not due yet.
    #[error("the run is due at {due_at}")]
    NotDue {
        /// When it is.
        due_at: Timestamp,
    },
    /// It executes inside the process of another run, which alone can do this.
    #[error("a local run does not take `{event}`: {mend}")]
    LocalRun {
        /// The event's name.
        event: &'static str,
        /// What to do instead.
        mend: &'static str,
    },
    /// It has been resumed as often as a run may be.
    #[error("a run may pause at most {limit} times: start a new run for further work")]
    TooManyPauses {
        /// `limits::MAX_PAUSES`.
        limit: usize,
    },
    /// The parent can have no new child.
    #[error("the parent run {parent} is {state} and can have no new child")]
    ParentEnded {
        /// The parent.
        parent: RunId,
        /// Its state.
        state: StateType,
    },
    /// Too many runs are above it.
    #[error("a run may have at most {limit} runs above it")]
    TooDeep {
        /// `limits::MAX_TREE_DEPTH`.
        limit: u32,
    },
    /// With those of its parent it has too many labels.
    #[error("labels: has {n_labels} with those inherited from its parent; at most {limit} are allowed")]
    TooManyLabels {
        /// How many it would have.
        n_labels: usize,
        /// `limits::MAX_LABELS`.
        limit: usize,
    },
}

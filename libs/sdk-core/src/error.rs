use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::proto;

/// The state of a run whose upstream did not complete, and the type of its error.
const UPSTREAM_FAILED: &str = "UpstreamFailed";

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument is wrong.
    InvalidArgument,
    /// There is no such run.
    NotFound,
    /// The idempotency key or id was used for something else.
    AlreadyExists,
    /// The state of things does not allow it.
    FailedPrecondition,
    /// The server is at a bound; later it may work.
    Exhausted,
    /// No server answers.
    Unavailable,
    /// The time given was not enough.
    DeadlineExceeded,
    /// The server does not know who calls.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// A fault of the server or of this library.
    Internal,
    /// The run ended as FAILED: its code raised.
    RunFailed,
    /// The run ended as CRASHED: its process went away.
    RunCrashed,
    /// The run ended as CANCELLED.
    RunCancelled,
    /// A value cannot be encoded or decoded.
    Payload,
}

impl ErrorKind {
    /// All of them. Each has a method of [`Error`], `is_` and its name.
    pub const ALL: [Self; 14] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::Exhausted,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Internal,
        Self::RunFailed,
        Self::RunCrashed,
        Self::RunCancelled,
        Self::Payload,
    ];

    /// Its name, as SDKs of other languages have it: `not_found`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::FailedPrecondition => "failed_precondition",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Internal => "internal",
            Self::RunFailed => "run_failed",
            Self::RunCrashed => "run_crashed",
            Self::RunCancelled => "run_cancelled",
            Self::Payload => "payload",
        }
    }
}

/// The one error of the SDKs. What kind of error it is, exactly one of its `is_` methods of [`ErrorKind`]'s names says.
#[derive(Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    reason: String,
    retry_after: Option<Duration>,
    metadata: HashMap<String, String>,
    failure: Option<proto::Failure>,
    origin: Origin,
}

/// Where an error was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On this side, by the transport too.
    Local,
    /// By what answered.
    Wire,
    /// On this side, with the cause found and told.
    Explained,
}

impl Error {
    /// An error of this side.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            reason: String::new(),
            retry_after: None,
            metadata: HashMap::new(),
            failure: None,
            origin: Origin::Local,
        }))
    }

    /// The error of one item of a batch.
    pub(crate) fn of_item(reason: &str, message: &str) -> Self {
        let mut error = Self::new(kind_of_reason(reason), message);
        reason.clone_into(&mut error.0.reason);
        error
    }

    /// The same, with what it is about before its message.
    pub(crate) fn of(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Its message tells the cause, not only the symptom.
    pub(crate) fn explained(mut self) -> Self {
        self.0.origin = Origin::Explained;
        self
    }

    /// Where it was made.
    pub(crate) fn origin(&self) -> Origin {
        self.0.origin
    }

    /// What a run's end means to someone who wanted its result; `None` when it is COMPLETED.
    pub fn of_ended_run(run: &proto::Run) -> Option<Self> {
        let state = run.state.clone().unwrap_or_default();
        let (kind, word) = match state.r#type() {
            proto::StateType::Completed => return None,
            proto::StateType::Failed => (ErrorKind::RunFailed, "failed"),
            proto::StateType::Crashed => (ErrorKind::RunCrashed, "crashed"),
            proto::StateType::Cancelled => (ErrorKind::RunCancelled, "was cancelled"),
            other => {
                let message = format!("run {} has not ended: it is {}", run.id, other.as_str_name());
                return Some(Self::new(ErrorKind::FailedPrecondition, message));
            }
        };
        // A run of a list comes without its failure; its state tells all of this one.
        let of_upstream = || {
            let error_type = state.name.clone();
            (error_type == UPSTREAM_FAILED).then(|| proto::Failure {
                error_type,
                message: state.message.clone(),
                ..proto::Failure::default()
            })
        };
        let failure = run.failure.clone().or_else(of_upstream);
        let cause = match &failure {
            Some(failure) if kind == ErrorKind::RunFailed && !failure.error_type.is_empty() => {
                format!("{}: {}", failure.error_type, failure.message)
            }
            _ if state.message.is_empty() => state.name.clone(),
            _ => state.message.clone(),
        };
        let mut error = Self::new(kind, format!("run {} ({}) {word}: {cause}", run.id, run.name));
        error.0.failure = failure;
        Some(error)
    }

    /// From a status off the wire, with its `google.rpc` details.
    pub(crate) fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        // A status that this side made from a broken connection has a source; one off the wire has none.
        let broken_connection = std::error::Error::source(status).is_some();
        let kind = match status.code() {
            Code::Cancelled if status.message() == "Timeout expired" => ErrorKind::DeadlineExceeded,
            Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable if broken_connection => {
                ErrorKind::Unavailable
            }
            code => kind_of_code(code),
        };
        let mut error = Self::new(kind, status.message());
        if let Some(info) = details.error_info() {
            error.0.reason.clone_from(&info.reason);
            error.0.metadata.clone_from(&info.metadata);
        }
        if let Some(bad_request) = details.bad_request() {
            for violation in &bad_request.field_violations {
                // Most messages name the violations already.
                if !error.0.message.contains(&violation.description) {
                    error.0.message.push_str(&format!("; {}: {}", violation.field, violation.description));
                }
            }
        }
        error.0.retry_after = details.retry_info().and_then(|info| info.retry_delay);
        error.0.origin = if broken_connection { Origin::Local } else { Origin::Wire };
        error
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The server's name of the cause, of the list `tidegate.v1.ErrorReason`: `STALE_EPOCH`. Else empty.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// One sentence for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// When the server wants the call repeated, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// A further fact from the server by its name, such as `run_id`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata.get(key).map(String::as_str)
    }

    /// Why the run failed, where this is the error of a run.
    pub fn failure(&self) -> Option<&proto::Failure> {
        self.0.failure.as_ref()
    }

    /// There is no such run.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// No server answers.
    pub fn is_unavailable(&self) -> bool {
        self.0.kind == ErrorKind::Unavailable
    }

    /// An argument is wrong.
    pub fn is_invalid_argument(&self) -> bool {
        self.0.kind == ErrorKind::InvalidArgument
    }

    /// The idempotency key or id was used for something else.
    pub fn is_already_exists(&self) -> bool {
        self.0.kind == ErrorKind::AlreadyExists
    }

    /// The state of things does not allow it.
    pub fn is_failed_precondition(&self) -> bool {
        self.0.kind == ErrorKind::FailedPrecondition
    }

    /// The server is at a bound; later it may work.
    pub fn is_exhausted(&self) -> bool {
        self.0.kind == ErrorKind::Exhausted
    }

    /// The server does not know who calls.
    pub fn is_unauthenticated(&self) -> bool {
        self.0.kind == ErrorKind::Unauthenticated
    }

    /// The caller may not do this.
    pub fn is_permission_denied(&self) -> bool {
        self.0.kind == ErrorKind::PermissionDenied
    }

    /// A fault of the server or of this library.
    pub fn is_internal(&self) -> bool {
        self.0.kind == ErrorKind::Internal
    }

    /// A value cannot be encoded or decoded.
    pub fn is_payload(&self) -> bool {
        self.0.kind == ErrorKind::Payload
    }

    /// The time given was not enough.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.0.kind == ErrorKind::DeadlineExceeded
    }

    /// The run's code raised.
    pub fn is_run_failed(&self) -> bool {
        self.0.kind == ErrorKind::RunFailed
    }

    /// The run's process went away.
    pub fn is_run_crashed(&self) -> bool {
        self.0.kind == ErrorKind::RunCrashed
    }

    /// The run was cancelled.
    pub fn is_run_cancelled(&self) -> bool {
        self.0.kind == ErrorKind::RunCancelled
    }

    /// The run was not executed, because one whose result it needs did not complete.
    pub fn is_upstream_failed(&self) -> bool {
        self.is_run_failed() && self.failure().is_some_and(|failure| failure.error_type == UPSTREAM_FAILED)
    }

    /// The session's lease was lost; its open runs are CRASHED.
    pub fn is_session_lost(&self) -> bool {
        self.0.reason == "SESSION_LOST"
    }

    /// The server will not have this process, however often it comes. What Tidegate refuses has a reason of its own;
    /// a status without one may be that of something in between, and may pass.
    pub(crate) fn is_refusal(&self) -> bool {
        self.is_denied() || matches!(self.0.reason.as_str(), "PROTOCOL_VERSION" | "INVALID_FIELD")
    }

    /// The server will not have the caller.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unauthenticated | ErrorKind::PermissionDenied)
    }

    /// Repeating the same call later may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Exhausted | ErrorKind::DeadlineExceeded)
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        if !self.0.reason.is_empty() {
            write!(f, " ({})", self.0.reason)?;
        }
        Ok(())
    }
}

/// What an answer must have.
pub(crate) fn answered<T>(part: Option<T>, what: &str) -> Result<T, Error> {
    part.ok_or_else(|| Error::new(ErrorKind::Internal, format!("the server answered without a {what}")))
}

fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::FailedPrecondition | Code::Aborted | Code::Unimplemented => ErrorKind::FailedPrecondition,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Internal,
    }
}

fn kind_of_reason(reason: &str) -> ErrorKind {
    match reason {
        "INVALID_FIELD" => ErrorKind::InvalidArgument,
        "RUN_NOT_FOUND" | "PAYLOAD_NOT_FOUND" | "DEPLOYMENT_NOT_FOUND" => ErrorKind::NotFound,
        "IDEMPOTENCY_KEY_REUSED" => ErrorKind::AlreadyExists,
        "OVERLOADED" => ErrorKind::Exhausted,
        "DEPENDENCY_UNAVAILABLE" | "DRAINING" => ErrorKind::Unavailable,
        "TRANSITION_NOT_ALLOWED"
        | "STALE_EPOCH"
        | "PARENT_ENDED"
        | "PROTOCOL_VERSION"
        | "SESSION_LOST"
        | "TOO_MANY_ARTIFACTS"
        | "CHECKSUM_MISMATCH" => ErrorKind::FailedPrecondition,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn details_of_a_status_are_kept() {
        let mut details = ErrorDetails::with_error_info("OVERLOADED", "tidegate", []);
        details.set_retry_info(Some(Duration::from_millis(70)));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let error = Error::from_status(&status);
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(error.reason(), "OVERLOADED");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(70)));
        assert!(error.is_retryable());
    }

    #[test]
    fn a_violation_is_named_once() {
        let mut details = ErrorDetails::with_bad_request_violation("filter", "at column 1: what is `x`?");
        details.add_bad_request_violation("page_size", "must be at most 1000");
        let message = "filter: at column 1: what is `x`?";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        let error = Error::from_status(&status);
        assert_eq!(error.message(), format!("{message}; page_size: must be at most 1000"));
    }

    #[test]
    fn only_tidegate_itself_refuses_for_good() {
        let refused = |code, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "tidegate", []);
            Error::from_status(&Status::with_error_details(code, "no", details)).is_refusal()
        };
        assert!(refused(Code::FailedPrecondition, "PROTOCOL_VERSION"));
        assert!(refused(Code::InvalidArgument, "INVALID_FIELD"));
        assert!(Error::from_status(&Status::unauthenticated("who?")).is_refusal());
        for code in [Code::Unimplemented, Code::Aborted, Code::FailedPrecondition, Code::InvalidArgument] {
            assert!(!Error::from_status(&Status::new(code, "a proxy's page")).is_refusal(), "{code:?}");
        }
    }

    #[test]
    fn each_kind_has_one_predicate_and_each_predicate_one_kind() {
        type Predicate = fn(&Error) -> bool;
        let predicates: [(&str, Predicate); 14] = [
            ("is_invalid_argument", Error::is_invalid_argument),
            ("is_not_found", Error::is_not_found),
            ("is_already_exists", Error::is_already_exists),
            ("is_failed_precondition", Error::is_failed_precondition),
            ("is_exhausted", Error::is_exhausted),
            ("is_unavailable", Error::is_unavailable),
            ("is_deadline_exceeded", Error::is_deadline_exceeded),
            ("is_unauthenticated", Error::is_unauthenticated),
            ("is_permission_denied", Error::is_permission_denied),
            ("is_internal", Error::is_internal),
            ("is_run_failed", Error::is_run_failed),
            ("is_run_crashed", Error::is_run_crashed),
            ("is_run_cancelled", Error::is_run_cancelled),
            ("is_payload", Error::is_payload),
        ];
        for (idx, kind) in ErrorKind::ALL.into_iter().enumerate() {
            // One that is added comes here by the compiler, and has to be in `ALL`.
            let place = match kind {
                ErrorKind::InvalidArgument => 0,
                ErrorKind::NotFound => 1,
                ErrorKind::AlreadyExists => 2,
                ErrorKind::FailedPrecondition => 3,
                ErrorKind::Exhausted => 4,
                ErrorKind::Unavailable => 5,
                ErrorKind::DeadlineExceeded => 6,
                ErrorKind::Unauthenticated => 7,
                ErrorKind::PermissionDenied => 8,
                ErrorKind::Internal => 9,
                ErrorKind::RunFailed => 10,
                ErrorKind::RunCrashed => 11,
                ErrorKind::RunCancelled => 12,
                ErrorKind::Payload => 13,
            };
            assert_eq!(place, idx, "{kind:?}");
            let error = Error::new(kind, "x");
            let true_ones: Vec<_> =
                predicates.iter().filter(|(_, is)| is(&error)).map(|(name, _)| *name).collect();
            assert_eq!(true_ones, [format!("is_{}", kind.as_str())]);
        }
    }

    #[test]
    fn the_end_of_a_run_is_named_with_its_cause() {
        let run = proto::Run {
            id: "r-1".into(),
            name: "count".into(),
            state: Some(proto::State { r#type: proto::StateType::Failed.into(), ..Default::default() }),
            failure: Some(proto::Failure {
                error_type: "ValueError".into(),
                message: "no lines".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let error = Error::of_ended_run(&run).unwrap();
        assert!(error.is_run_failed());
        assert_eq!(error.to_string(), "run r-1 (count) failed: ValueError: no lines");
        assert!(!error.is_upstream_failed());
    }

    #[test]
    fn a_run_whose_upstream_failed_is_told_by_its_state() {
        let mut run = proto::Run {
            id: "r-2".into(),
            name: "sum".into(),
            state: Some(proto::State {
                r#type: proto::StateType::Failed.into(),
                name: "UpstreamFailed".into(),
                message: "run r-1, whose result it needs, did not complete".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let of_list = Error::of_ended_run(&run).unwrap();
        run.failure = Some(proto::Failure {
            error_type: "UpstreamFailed".into(),
            message: "run r-1, whose result it needs, did not complete".into(),
            ..Default::default()
        });
        let whole = Error::of_ended_run(&run).unwrap();
        for error in [of_list, whole] {
            assert!(error.is_run_failed() && error.is_upstream_failed(), "{error:?}");
            assert_eq!(
                error.to_string(),
                "run r-2 (sum) failed: UpstreamFailed: run r-1, whose result it needs, did not complete"
            );
        }
    }
}

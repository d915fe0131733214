use std::fmt;

use tidegate_delivery::{Function, Labels, QueueId};
use tidegate_model::{ErrorCode, Namespace, Reason, ServiceError, WorkerId, limits};
use tidegate_proto::v1;
use tidegate_wire::{Violations, check_label_map, invalid, kind_from_proto, to_status};
use tonic::Status;

/// The protocol that this service speaks.
const PROTOCOL_VERSION: u32 = 1;
const MAX_QUEUES: usize = 64;
const MAX_FUNCTIONS: usize = 10_000;

/// A valid Hello.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) namespace: Namespace,
    pub(crate) worker_id: WorkerId,
    pub(crate) sdk: String,
    pub(crate) serves: Serves,
}

/// What a worker takes runs of. Workers that serve the same are assigned runs together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Serves {
    /// Sorted, without repetitions.
    pub(crate) queues: Vec<QueueId>,
    /// Sorted, without repetitions.
    pub(crate) functions: Vec<Function>,
    /// What tells them from others.
    pub(crate) labels: Labels,
}

/// The worker speaks another version of the protocol.
#[derive(Debug)]
struct WrongVersion(u32);

impl fmt::Display for WrongVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(version) = self;
        write!(f, "the worker speaks protocol version {version}, this service speaks {PROTOCOL_VERSION}: ")?;
        let older = if *version < PROTOCOL_VERSION { "worker's SDK" } else { "server" };
        write!(f, "update the {older}")
    }
}

impl std::error::Error for WrongVersion {}

impl ServiceError for WrongVersion {
    fn code(&self) -> ErrorCode {
        ErrorCode::FailedPrecondition
    }

    fn reason(&self) -> Reason {
        Reason::ProtocolVersion
    }
}

/// Checks a Hello; the status names everything that is wrong with it.
pub(crate) fn parse(hello: v1::Hello) -> Result<Hello, Status> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(to_status(&WrongVersion(hello.protocol_version)));
    }
    let mut violations = Violations::below("hello.");
    let namespace = if hello.namespace.is_empty() {
        Some(Namespace::default())
    } else {
        violations.parse("namespace", &hello.namespace)
    };
    let worker_id = violations.parse("worker_id", &hello.worker_id);
    let serves = namespace.as_ref().map(|namespace| Serves {
        queues: parse_queues(namespace, &hello.queues, &mut violations),
        functions: parse_functions(&hello.functions, &mut violations),
        labels: hello.labels.clone(),
    });
    check_label_map("labels", &hello.labels, limits::MAX_WORKER_LABELS, &mut violations);
    if hello.sdk.len() > limits::MAX_NAME_SIZE || hello.sdk.chars().any(char::is_control) {
        let max = limits::MAX_NAME_SIZE;
        violations.add("sdk", format!("at most {max} bytes without control characters are allowed"));
    }
    match (namespace, worker_id, serves) {
        (Some(namespace), Some(worker_id), Some(serves)) if violations.is_empty() => {
            Ok(Hello { namespace, worker_id, sdk: hello.sdk, serves })
        }
        _ => Err(invalid(violations.into_vec())),
    }
}

fn parse_queues(namespace: &Namespace, names: &[String], violations: &mut Violations) -> Vec<QueueId> {
    if !(1..=MAX_QUEUES).contains(&names.len()) {
        violations.add("queues", format!("has {} entries; 1 to {MAX_QUEUES} are allowed", names.len()));
        return Vec::new();
    }
    let parse = |(queue_idx, name): (usize, &String)| {
        let queue = violations.parse(&format!("queues[{queue_idx}]"), name)?;
        Some(QueueId { namespace: namespace.clone(), queue })
    };
    let mut queues: Vec<_> = names.iter().enumerate().filter_map(parse).collect();
    queues.sort();
    queues.dedup();
    queues
}

fn parse_functions(functions: &[v1::Function], violations: &mut Violations) -> Vec<Function> {
    if !(1..=MAX_FUNCTIONS).contains(&functions.len()) {
        let found = functions.len();
        violations.add("functions", format!("has {found} entries; 1 to {MAX_FUNCTIONS} are allowed"));
        return Vec::new();
    }
    let mut parsed = Vec::with_capacity(functions.len());
    for (function_idx, function) in functions.iter().enumerate() {
        let kind = kind_from_proto(function.kind);
        if kind.is_none() {
            let field = format!("functions[{function_idx}].kind");
            violations.add(&field, "is not set: RUN_KIND_FLOW or RUN_KIND_TASK is required");
        }
        let name = violations.parse(&format!("functions[{function_idx}].name"), &function.name);
        if let (Some(kind), Some(name)) = (kind, name) {
            parsed.push(Function { kind, name });
        }
    }
    parsed.sort();
    parsed.dedup();
    parsed
}

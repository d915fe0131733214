use std::fmt;

use tidegate_delivery::{Function, Held, Labels, PoolId, QueueId};
use tidegate_model::{Epoch, ErrorCode, Namespace, Reason, ServiceError, WorkerAbout, WorkerId, limits};
use tidegate_proto::v1;
use tidegate_wire::{Violations, check_label_map, invalid, kind_from_proto, to_status};
use tonic::Status;

use crate::stream::MAX_CREDITS;

/// The protocol that this service speaks.
const PROTOCOL_VERSION: u32 = 1;
const MAX_QUEUES: usize = 64;
const MAX_FUNCTIONS: usize = 10_000;
/// Runs that a process executes for a worker of a pool.
const MAX_EXECUTED: usize = 1;

/// A valid Hello.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) namespace: Namespace,
    pub(crate) worker_id: WorkerId,
    /// What is told of it to others, its own words and what it serves.
    pub(crate) about: WorkerAbout,
    /// `None`: it executes what a worker of a pool was assigned, and takes nothing itself.
    pub(crate) serves: Option<Serves>,
    /// What it executes for a worker of a pool.
    pub(crate) executes: Vec<Held>,
}

/// What a worker takes runs of. Workers that serve the same are assigned runs together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Serves {
    /// Sorted, without repetitions.
    pub(crate) queues: Vec<QueueId>,
    /// Of a pool's worker, its queues in the order in which they are served. Empty: they take turns.
    pub(crate) preferred: Vec<QueueId>,
    /// Sorted, without repetitions. Of a pool's worker, the pool alone.
    pub(crate) functions: Vec<Function>,
    /// What tells them from others.
    pub(crate) labels: Labels,
}

impl Serves {
    /// The work pool, where it is a worker of one.
    pub(crate) fn work_pool(&self) -> Option<PoolId> {
        let Some(Function::Pool(work_pool)) = self.functions.first() else { return None };
        let namespace = self.queues.first()?.namespace.clone();
        Some(PoolId { namespace, work_pool: work_pool.clone() })
    }

    /// The queues in the order in which they are taken from. Where none is preferred, each comes first in its turn, so that
    /// a busy one does not keep the others waiting.
    pub(crate) fn in_order(&self, turn: usize) -> impl Iterator<Item = &QueueId> {
        let (queues, turn) =
            if self.preferred.is_empty() { (&self.queues, turn) } else { (&self.preferred, 0) };
        (0..queues.len()).map(move |step| &queues[turn.wrapping_add(step) % queues.len()])
    }
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
    let executes = parse_executes(&hello, &mut violations);
    let serves = match &namespace {
        Some(namespace) if hello.executes.is_empty() => {
            Some(parse_serves(namespace, &hello, &mut violations))
        }
        _ => None,
    };
    check_label_map("labels", &hello.labels, limits::MAX_WORKER_LABELS, &mut violations);
    violations.text("sdk", &hello.sdk, 0, limits::MAX_NAME_SIZE);
    violations.text("name", &hello.name, 0, limits::MAX_WORKER_NAME_SIZE);
    violations.text("host", &hello.host, 0, limits::MAX_NAME_SIZE);
    for (field, n_slots) in [("task_slots", hello.task_slots), ("flow_slots", hello.flow_slots)] {
        if n_slots > MAX_CREDITS {
            violations
                .add(field, format!("is {n_slots}; a worker has at most {MAX_CREDITS} slots of a kind"));
        }
    }
    match (namespace, worker_id) {
        (Some(namespace), Some(worker_id)) if violations.is_empty() => {
            let about = about(hello, serves.as_ref());
            Ok(Hello { namespace, worker_id, about, serves, executes })
        }
        _ => Err(invalid(violations.into_vec())),
    }
}

fn about(hello: v1::Hello, serves: Option<&Serves>) -> WorkerAbout {
    let work_pool = serves.and_then(Serves::work_pool).map(|pool| pool.work_pool);
    let queues = serves.map(|serves| serves.in_order(0).map(|queue| queue.queue.clone()).collect());
    let n_functions = match (&work_pool, serves) {
        (None, Some(serves)) => u32::try_from(serves.functions.len()).unwrap_or(u32::MAX),
        _ => 0,
    };
    WorkerAbout {
        name: hello.name,
        host: hello.host,
        process_id: hello.process_id,
        sdk: hello.sdk,
        work_pool,
        queues: queues.unwrap_or_default(),
        n_functions,
        labels: hello.labels,
        n_task_slots: hello.task_slots,
        n_flow_slots: hello.flow_slots,
    }
}

fn parse_serves(namespace: &Namespace, hello: &v1::Hello, violations: &mut Violations) -> Serves {
    let mut queues = parse_queues(namespace, &hello.queues, violations);
    let mut preferred = Vec::new();
    let functions = if hello.work_pool.is_empty() {
        parse_functions(&hello.functions, violations)
    } else {
        if !hello.functions.is_empty() {
            violations.add(
                "functions",
                "are there: a worker of a work pool takes all runs of that, so leave them out",
            );
        }
        preferred.clone_from(&queues);
        violations.parse("work_pool", &hello.work_pool).into_iter().map(Function::Pool).collect()
    };
    queues.sort();
    queues.dedup();
    Serves { queues, preferred, functions, labels: hello.labels.clone() }
}

/// What a process executes for a worker of a pool. It takes nothing itself.
fn parse_executes(hello: &v1::Hello, violations: &mut Violations) -> Vec<Held> {
    if hello.executes.is_empty() {
        return Vec::new();
    }
    if hello.executes.len() > MAX_EXECUTED {
        let found = hello.executes.len();
        let rule = format!("has {found} entries; a process executes {MAX_EXECUTED} run for its worker");
        violations.add("executes", rule);
    }
    let taken = [("queues", hello.queues.is_empty()), ("functions", hello.functions.is_empty())];
    for (field, _) in taken.into_iter().filter(|(_, is_empty)| !is_empty) {
        violations.add(field, "are there beside `executes`: a process that executes a run takes no others");
    }
    let parse = |(run_idx, run): (usize, &v1::HeldRun)| {
        let run_id = violations.parse(&format!("executes[{run_idx}].run_id"), &run.run_id)?;
        Some(Held { run_id, epoch: Epoch(run.epoch) })
    };
    hello.executes.iter().take(MAX_EXECUTED).enumerate().filter_map(parse).collect()
}

/// In their order.
fn parse_queues(namespace: &Namespace, names: &[String], violations: &mut Violations) -> Vec<QueueId> {
    if !(1..=MAX_QUEUES).contains(&names.len()) {
        violations.add("queues", format!("has {} entries; 1 to {MAX_QUEUES} are allowed", names.len()));
        return Vec::new();
    }
    let parse = |(queue_idx, name): (usize, &String)| {
        let queue = violations.parse(&format!("queues[{queue_idx}]"), name)?;
        Some(QueueId { namespace: namespace.clone(), queue })
    };
    names.iter().enumerate().filter_map(parse).collect()
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
            parsed.push(Function::new(kind, name));
        }
    }
    parsed.sort();
    parsed.dedup();
    parsed
}

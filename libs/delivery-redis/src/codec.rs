//! What values and messages look like. All numbers in messages are big-endian.
//!
//! ```text
//! holder    epoch LF namespace LF worker        (none of them can contain a line feed)
//! lane      function, and where labels are required: LF key=value, for each in the order of the keys
//! serving   { workers SP free task slots SP free flow slots SP queues SP functions SP labels LF,
//!             a line for each queue, each function, and each label: key=value }…
//! facts     process id SP functions SP task slots SP flow slots SP queues SP labels LF
//!           last seen µs SP free task slots SP free flow slots SP runs SP draining (0 or 1) LF
//!           name LF host LF sdk LF work pool LF, a line for each queue and each label: key=value
//! message   'r' { length u16, queue, due_at i64 µs }…
//!           'c' queue                          (it is not paused any more)
//!           'p' namespace / work pool          (the same)
//!           'd' namespace LF worker            (it is to drain)
//!           's' { run id 16 bytes, epoch u64, grace u64 ms (all bits set: none), length u32, message }…
//! ```

use std::time::Duration;

use tidegate_delivery::{
    Capacity, DrainHint, EntryId, Function, Held, Hint, Lease, Pausable, PoolId, QueueId, ReadyHint,
    Requirements, Serving, Stop, label_line,
};
use tidegate_model::{Epoch, RunId, Timestamp, WorkerAbout, WorkerLoad};
use uuid::Uuid;

const READY: u8 = b'r';
const STOP: u8 = b's';
const RESUMED: u8 = b'c';
const POOL_RESUMED: u8 = b'p';
const DRAIN: u8 = b'd';
const NO_GRACE: u64 = u64::MAX;

pub(crate) fn run_id(bytes: &[u8]) -> Option<RunId> {
    Uuid::from_slice(bytes).ok().map(RunId::from_uuid)
}

pub(crate) fn queue(text: &str) -> Option<QueueId> {
    let (namespace, queue) = text.split_once('/')?;
    Some(QueueId { namespace: namespace.parse().ok()?, queue: queue.parse().ok()? })
}

pub(crate) fn function(text: &str) -> Option<Function> {
    text.parse().ok()
}

/// The lane of a function and requirements.
pub(crate) fn lane(function: &Function, requires: &Requirements) -> String {
    match requires.as_str() {
        "" => function.to_string(),
        lines => format!("{function}\n{lines}"),
    }
}

/// The lane in which an entry waits.
pub(crate) fn lane_of(entry: &EntryId) -> String {
    lane(&entry.function, &entry.requires)
}

pub(crate) fn parse_lane(text: &str) -> Option<(Function, Requirements)> {
    let (function_text, lines) = text.split_once('\n').unwrap_or((text, ""));
    Some((function(function_text)?, Requirements::from_text(lines)))
}

pub(crate) fn holder(lease: &Lease) -> String {
    format!("{}\n{}\n{}", lease.held.epoch, lease.namespace, lease.worker_id)
}

pub(crate) fn lease(run: &[u8], holder: &[u8]) -> Option<Lease> {
    let mut lines = std::str::from_utf8(holder).ok()?.splitn(3, '\n');
    let epoch = Epoch(lines.next()?.parse().ok()?);
    let held = Held { run_id: run_id(run)?, epoch };
    Some(Lease { held, namespace: lines.next()?.parse().ok()?, worker_id: lines.next()?.parse().ok()? })
}

/// The epoch at the beginning of a holder or a claim.
pub(crate) fn epoch(value: &[u8]) -> Option<Epoch> {
    let digits = value.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Epoch)
}

pub(crate) fn encode_servings(servings: &[Serving]) -> String {
    let mut text = String::new();
    for Serving { queues, functions, labels, capacity } in servings {
        let Capacity { n_workers, n_free_task_slots, n_free_flow_slots } = capacity;
        let (n_queues, n_functions, n_labels) = (queues.len(), functions.len(), labels.len());
        text.push_str(&format!("{n_workers} {n_free_task_slots} {n_free_flow_slots} "));
        text.push_str(&format!("{n_queues} {n_functions} {n_labels}\n"));
        let lines = queues.iter().map(ToString::to_string).chain(functions.iter().map(ToString::to_string));
        for line in lines.chain(labels.iter().map(|(key, value)| label_line(key, value))) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// None for what another version of us has announced.
pub(crate) fn decode_servings(text: &str) -> Option<Vec<Serving>> {
    let mut lines = text.lines();
    let mut servings = Vec::new();
    while let Some(head) = lines.next() {
        let numbers: Vec<u32> = head.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [n_workers, n_free_task_slots, n_free_flow_slots, n_queues, n_functions, n_labels] = numbers[..]
        else {
            return None;
        };
        let queues = (0..n_queues).map(|_| queue(lines.next()?)).collect::<Option<_>>()?;
        let functions = (0..n_functions).map(|_| function(lines.next()?)).collect::<Option<_>>()?;
        let label = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = (0..n_labels).map(|_| label(lines.next()?)).collect::<Option<_>>()?;
        let capacity = Capacity { n_workers, n_free_task_slots, n_free_flow_slots };
        servings.push(Serving { queues, functions, labels, capacity });
    }
    Some(servings)
}

pub(crate) fn encode_facts(about: &WorkerAbout, load: &WorkerLoad) -> String {
    let WorkerAbout { name, host, process_id, sdk, work_pool, queues, n_functions, labels, .. } = about;
    let (n_queues, n_labels) = (queues.len(), labels.len());
    let (n_task_slots, n_flow_slots) = (about.n_task_slots, about.n_flow_slots);
    let WorkerLoad { last_seen_at, n_free_task_slots, n_free_flow_slots, n_runs, is_draining } = load;
    let (last_seen, is_draining) = (last_seen_at.as_micros(), u8::from(*is_draining));
    let mut lines = vec![
        format!("{process_id} {n_functions} {n_task_slots} {n_flow_slots} {n_queues} {n_labels}"),
        format!("{last_seen} {n_free_task_slots} {n_free_flow_slots} {n_runs} {is_draining}"),
        name.clone(),
        host.clone(),
        sdk.clone(),
        work_pool.as_ref().map(ToString::to_string).unwrap_or_default(),
    ];
    lines.extend(queues.iter().map(ToString::to_string));
    lines.extend(labels.iter().map(|(key, value)| label_line(key, value)));
    lines.join("\n")
}

/// None for what another version of us has told.
pub(crate) fn decode_facts(text: &str) -> Option<(WorkerAbout, WorkerLoad)> {
    let mut lines = text.split('\n');
    let numbers: Vec<u32> =
        lines.next()?.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [process_id, n_functions, n_task_slots, n_flow_slots, n_queues, n_labels] = numbers[..] else {
        return None;
    };
    let (last_seen, load) = lines.next()?.split_once(' ')?;
    let numbers: Vec<u32> = load.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [n_free_task_slots, n_free_flow_slots, n_runs, is_draining] = numbers[..] else { return None };
    let load = WorkerLoad {
        last_seen_at: Timestamp::from_micros(last_seen.parse().ok()?),
        n_free_task_slots,
        n_free_flow_slots,
        n_runs,
        is_draining: is_draining != 0,
    };
    let mut next = || lines.next().map(str::to_owned);
    let (name, host, sdk, work_pool) = (next()?, next()?, next()?, next()?);
    let work_pool = if work_pool.is_empty() { None } else { Some(work_pool.parse().ok()?) };
    let queues = (0..n_queues).map(|_| next()?.parse().ok()).collect::<Option<_>>()?;
    let label = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let labels = (0..n_labels).map(|_| label(&next()?)).collect::<Option<_>>()?;
    let about = WorkerAbout {
        name,
        host,
        process_id,
        sdk,
        work_pool,
        queues,
        n_functions,
        labels,
        n_task_slots,
        n_flow_slots,
    };
    Some((about, load))
}

pub(crate) fn encode_drain(DrainHint { namespace, worker_id }: &DrainHint) -> Vec<u8> {
    let mut message = vec![DRAIN];
    message.extend(format!("{namespace}\n{worker_id}").as_bytes());
    message
}

fn decode_drain(text: &str) -> Option<DrainHint> {
    let (namespace, worker_id) = text.split_once('\n')?;
    Some(DrainHint { namespace: namespace.parse().ok()?, worker_id: worker_id.parse().ok()? })
}

pub(crate) fn encode_ready<'a>(hints: impl Iterator<Item = (&'a QueueId, Timestamp)>) -> Vec<u8> {
    let mut message = vec![READY];
    for (queue, due_at) in hints {
        let queue = queue.to_string();
        // Two names of at most 128 bytes each.
        message.extend(u16::try_from(queue.len()).unwrap_or(u16::MAX).to_be_bytes());
        message.extend(queue.as_bytes());
        message.extend(due_at.as_micros().to_be_bytes());
    }
    message
}

pub(crate) fn encode_resumed(what: &Pausable) -> Vec<u8> {
    let (kind, text) = match what {
        Pausable::Queue(queue) => (RESUMED, queue.to_string()),
        Pausable::Pool(PoolId { namespace, work_pool }) => (POOL_RESUMED, format!("{namespace}/{work_pool}")),
    };
    let mut message = vec![kind];
    message.extend(text.as_bytes());
    message
}

fn pool(text: &str) -> Option<PoolId> {
    let (namespace, work_pool) = text.split_once('/')?;
    Some(PoolId { namespace: namespace.parse().ok()?, work_pool: work_pool.parse().ok()? })
}

pub(crate) fn encode_stop(stops: &[Stop]) -> Vec<u8> {
    let mut message = vec![STOP];
    for stop in stops {
        message.extend(stop.run_id.as_uuid().as_bytes());
        message.extend(stop.epoch.0.to_be_bytes());
        let grace_ms = |grace: Duration| u64::try_from(grace.as_millis()).unwrap_or(NO_GRACE - 1);
        let grace_ms = stop.grace.map_or(NO_GRACE, grace_ms);
        message.extend(grace_ms.to_be_bytes());
        let text = stop.message.as_bytes();
        message.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend(text);
    }
    message
}

/// None for what another version of us, or someone else, has said.
pub(crate) fn decode(message: &[u8]) -> Option<Hint> {
    let (kind, mut rest) = message.split_first()?;
    match *kind {
        READY => {
            let mut hints = Vec::new();
            while !rest.is_empty() {
                hints.push(decode_ready(&mut rest)?);
            }
            Some(Hint::Ready(hints))
        }
        STOP => {
            let mut stops = Vec::new();
            while !rest.is_empty() {
                stops.push(decode_stop(&mut rest)?);
            }
            Some(Hint::Stop(stops))
        }
        RESUMED => Some(Hint::Resumed(Pausable::Queue(queue(std::str::from_utf8(rest).ok()?)?))),
        POOL_RESUMED => Some(Hint::Resumed(Pausable::Pool(pool(std::str::from_utf8(rest).ok()?)?))),
        DRAIN => Some(Hint::Drain(decode_drain(std::str::from_utf8(rest).ok()?)?)),
        _ => None,
    }
}

fn decode_ready(rest: &mut &[u8]) -> Option<ReadyHint> {
    let length = u16::from_be_bytes(*rest.split_off(..2)?.as_array()?);
    let text = std::str::from_utf8(rest.split_off(..usize::from(length))?).ok()?;
    let due_at = i64::from_be_bytes(*rest.split_off(..8)?.as_array()?);
    Some(ReadyHint { queue: queue(text)?, due_at: Timestamp::from_micros(due_at) })
}

fn decode_stop(rest: &mut &[u8]) -> Option<Stop> {
    let run_id = run_id(rest.split_off(..16)?)?;
    let epoch = Epoch(u64::from_be_bytes(*rest.split_off(..8)?.as_array()?));
    let grace_ms = u64::from_be_bytes(*rest.split_off(..8)?.as_array()?);
    let grace = (grace_ms != NO_GRACE).then(|| Duration::from_millis(grace_ms));
    let length = u32::from_be_bytes(*rest.split_off(..4)?.as_array()?);
    let text = rest.split_off(..usize::try_from(length).ok()?)?;
    Some(Stop { run_id, epoch, grace, message: String::from_utf8(text.to_vec()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_strange_is_no_hint() {
        let stop = Stop {
            run_id: RunId::new(),
            epoch: Epoch(3),
            grace: Some(Duration::from_secs(1)),
            message: "why".to_owned(),
        };
        let message = encode_stop(std::slice::from_ref(&stop));
        assert_eq!(decode(&message), Some(Hint::Stop(vec![stop])));
        for length in 2..message.len() {
            assert_eq!(decode(&message[..length]), None, "{length}");
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"?"), None);
    }
}

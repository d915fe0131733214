//! The names of this crate's metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Counter: runs sent to workers, by `kind`.
pub(crate) const ASSIGNED: &str = "tidegate.task_queue.assigned";
/// Counter: entries that api refused, so that they were dropped.
pub(crate) const CLAIMS_REFUSED: &str = "tidegate.task_queue.claims_refused";
/// Counter: entries dropped because a concurrency limit has no free slot.
pub(crate) const CLAIMS_WAITING: &str = "tidegate.task_queue.claims_waiting";
/// Counter: entries put back because their queue is paused.
pub(crate) const CLAIMS_PAUSED: &str = "tidegate.task_queue.claims_paused";
/// Counter: entries put back because api did not answer.
pub(crate) const CLAIMS_PUT_BACK: &str = "tidegate.task_queue.claims_put_back";
/// Histogram: claims in one batch.
pub(crate) const CLAIM_BATCH_SIZE: &str = "tidegate.task_queue.claim_batch_size";
/// Histogram (s): from the time at which a run was due until it was sent to a worker.
pub(crate) const DUE_TO_ASSIGNED: &str = "tidegate.run.due_to_assigned";
/// Counter: reports that api answered, by `accepted`.
pub(crate) const REPORTED: &str = "tidegate.task_queue.reported";
/// Counter: reports that workers were told to repeat, because too many waited for api.
pub(crate) const REPORTS_SHED: &str = "tidegate.task_queue.reports_shed";
/// Histogram: reports in one batch.
pub(crate) const REPORT_BATCH_SIZE: &str = "tidegate.task_queue.report_batch_size";
/// Counter: runs whose worker went silent, as accepted by api.
pub(crate) const LEASES_LOST: &str = "tidegate.lease.lost";
/// Gauge: open worker streams of this replica.
pub(crate) const STREAMS: &str = "tidegate.worker.streams";
/// Gauge: free slots that workers have announced to this replica, by `kind`.
pub(crate) const CREDITS: &str = "tidegate.worker.credits";
/// Gauge: entries of a queue, by `namespace`, `queue` and `state` (ready, delayed, claimed). The same on each
/// replica.
pub(crate) const QUEUE_DEPTH: &str = "tidegate.queue.depth";

pub(crate) fn describe() {
    describe_counter!(ASSIGNED, Unit::Count, "runs sent to workers");
    describe_counter!(CLAIMS_REFUSED, Unit::Count, "entries that api refused");
    describe_counter!(CLAIMS_WAITING, Unit::Count, "entries whose runs wait for a concurrency slot");
    describe_counter!(CLAIMS_PAUSED, Unit::Count, "entries put back because their queue is paused");
    describe_counter!(CLAIMS_PUT_BACK, Unit::Count, "entries put back because api did not answer");
    describe_histogram!(CLAIM_BATCH_SIZE, Unit::Count, "claims in one batch");
    describe_histogram!(DUE_TO_ASSIGNED, Unit::Seconds, "from due to sent to a worker");
    describe_counter!(REPORTED, Unit::Count, "reports that api answered");
    describe_counter!(REPORTS_SHED, Unit::Count, "reports that workers were told to repeat");
    describe_histogram!(REPORT_BATCH_SIZE, Unit::Count, "reports in one batch");
    describe_counter!(LEASES_LOST, Unit::Count, "runs whose worker went silent");
    describe_gauge!(STREAMS, Unit::Count, "open worker streams");
    describe_gauge!(CREDITS, Unit::Count, "free slots that workers have announced");
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "entries of a queue");
}

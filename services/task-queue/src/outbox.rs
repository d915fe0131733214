use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::Stream;
use prost::Message;
use tidegate_model::limits;
use tidegate_proto::v1::{
    Assign, Assignments, Cancel, CancelCause, Cancels, ReportOutcome, ReportOutcomes, WorkResponse,
    work_response,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Bytes of assignments in one message; a single larger one still goes.
const MAX_ASSIGNMENTS_SIZE: usize = limits::MAX_MESSAGE_SIZE / 2;

/// What waits to be sent to a worker.
///
/// Putting something in never waits, so a slow worker holds up nobody. It is bounded by what the worker
/// itself has asked for: assignments by its credits, outcomes by its reports, cancels by what it holds.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    readable: Notify,
    /// Cancelled when nothing more goes in.
    ended: CancellationToken,
}

#[derive(Default)]
struct Waiting {
    /// Welcome, then perhaps Drain and Reconnect: at most these three.
    single: Vec<work_response::Message>,
    assigns: Vec<Assign>,
    outcomes: Vec<ReportOutcome>,
    /// By run: a later one replaces an earlier one.
    cancels: HashMap<String, Cancel>,
    /// Assignments are not taken any more.
    retired: bool,
    end: Option<Result<(), Status>>,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting());
        self.readable.notify_one();
    }

    pub(crate) fn put_single(&self, message: work_response::Message) {
        self.put(|waiting| waiting.single.push(message));
    }

    /// Gives the assignments back where the stream takes none any more.
    pub(crate) fn put_assigns(&self, assigns: Vec<Assign>) -> Result<(), Vec<Assign>> {
        let mut waiting = self.waiting();
        if waiting.retired {
            return Err(assigns);
        }
        waiting.assigns.extend(assigns);
        drop(waiting);
        self.readable.notify_one();
        Ok(())
    }

    pub(crate) fn put_outcomes(&self, outcomes: impl IntoIterator<Item = ReportOutcome>) {
        self.put(|waiting| waiting.outcomes.extend(outcomes));
    }

    pub(crate) fn put_cancel(&self, cancel: Cancel) {
        self.put(|waiting| {
            let known = waiting.cancels.entry(cancel.run_id.clone()).or_insert_with(|| cancel.clone());
            // That the run is lost says more than that it is to stop.
            if known.cause() != CancelCause::Lost {
                *known = cancel;
            }
        });
    }

    /// Takes no more assignments. Gives back those that were not sent.
    #[must_use = "what was not sent is to be released"]
    pub(crate) fn retire(&self) -> Vec<Assign> {
        let mut waiting = self.waiting();
        waiting.retired = true;
        std::mem::take(&mut waiting.assigns)
    }

    /// Ends the stream, after what waits but for assignments; the first end stays.
    pub(crate) fn end(&self, end: Result<(), Status>) {
        self.put(|waiting| {
            waiting.end.get_or_insert(end);
        });
        self.ended.cancel();
    }

    /// Cancelled when the stream is to end, or has lost its reader.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The messages of the stream. When it is dropped, the outbox ends.
    pub(crate) fn into_messages(
        self: Arc<Self>,
    ) -> impl Stream<Item = Result<WorkResponse, Status>> + Send + 'static {
        let reader = Reader { outbox: self, done: false };
        futures::stream::unfold(reader, |mut reader| async move {
            let item = reader.next().await?;
            Some((item, reader))
        })
    }
}

/// The stream's end that tonic reads.
struct Reader {
    outbox: Arc<Outbox>,
    done: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<WorkResponse, Status>> {
        if self.done {
            return None;
        }
        loop {
            let next = self.outbox.waiting().next();
            match next {
                Next::Message(message) => return Some(Ok(WorkResponse { message: Some(message) })),
                Next::Nothing => self.outbox.readable.notified().await,
                Next::End(end) => {
                    self.done = true;
                    return end.err().map(Err);
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.outbox.end(Ok(()));
    }
}

enum Next {
    Message(work_response::Message),
    Nothing,
    End(Result<(), Status>),
}

impl Waiting {
    /// Batched when busy, single when idle: whatever has come in since the last message. Assignments go
    /// before cancels, which may be for them.
    fn next(&mut self) -> Next {
        if !self.single.is_empty() {
            return Next::Message(self.single.remove(0));
        }
        if !self.assigns.is_empty() && !self.retired {
            return Next::Message(work_response::Message::Assignments(self.next_assignments()));
        }
        if !self.outcomes.is_empty() {
            let n_outcomes = self.outcomes.len().min(limits::MAX_BATCH_SIZE);
            let outcomes = self.outcomes.drain(..n_outcomes).collect();
            return Next::Message(work_response::Message::Outcomes(ReportOutcomes { outcomes }));
        }
        if !self.cancels.is_empty() {
            let cancels = std::mem::take(&mut self.cancels).into_values().collect();
            return Next::Message(work_response::Message::Cancels(Cancels { cancels }));
        }
        self.end.clone().map_or(Next::Nothing, Next::End)
    }

    fn next_assignments(&mut self) -> Assignments {
        let mut size = 0;
        let fitting = self.assigns.iter().take(limits::MAX_BATCH_SIZE).take_while(|assign| {
            size += assign.encoded_len();
            size <= MAX_ASSIGNMENTS_SIZE
        });
        let n_assigns = fitting.count().max(1);
        Assignments { assigns: self.assigns.drain(..n_assigns).collect() }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn assign(run_id: &str) -> Assign {
        Assign { run_id: run_id.to_owned(), ..Assign::default() }
    }

    #[tokio::test]
    async fn what_waits_is_sent_before_the_end_but_for_assignments() {
        let outbox = Arc::new(Outbox::default());
        outbox.put_assigns(vec![assign("a")]).unwrap();
        assert_eq!(outbox.retire().len(), 1);
        assert_eq!(outbox.put_assigns(vec![assign("b")]).unwrap_err().len(), 1);
        outbox.put_outcomes([ReportOutcome::default(), ReportOutcome::default()]);
        outbox.end(Err(Status::unavailable("draining")));
        outbox.end(Ok(()));
        let messages: Vec<_> = Arc::clone(&outbox).into_messages().collect().await;
        assert_eq!(messages.len(), 2, "{messages:?}");
        let Ok(WorkResponse { message: Some(work_response::Message::Outcomes(outcomes)) }) = &messages[0]
        else {
            panic!("{messages:?}")
        };
        assert_eq!(outcomes.outcomes.len(), 2);
        assert_eq!(messages[1].as_ref().unwrap_err().code(), tonic::Code::Unavailable);
    }

    #[tokio::test]
    async fn large_assignments_go_in_messages_of_their_own() {
        let outbox = Arc::new(Outbox::default());
        let mut large = assign("large");
        large.name = "n".repeat(MAX_ASSIGNMENTS_SIZE);
        outbox.put_assigns(vec![assign("a"), assign("b"), large.clone(), large, assign("c")]).unwrap();
        let messages = Arc::clone(&outbox).into_messages();
        let sizes = messages.take(4).map(|message| match message.unwrap().message {
            Some(work_response::Message::Assignments(assignments)) => assignments.assigns.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(sizes.collect::<Vec<_>>().await, [2, 1, 1, 1]);
        assert!(outbox.ended().is_cancelled(), "its reader was dropped");
    }
}

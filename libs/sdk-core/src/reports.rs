use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use prost::Message;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    ends,
    proto::{Report, ReportOutcome},
    retry::Backoff,
};

/// Bytes of one message beyond which no further report is added; a message may have 8 MiB, a report little over 2.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The reports of one stream: kept until they are answered, sent again on a new stream, in order for each run.
#[derive(Debug)]
pub(crate) struct Reports {
    /// How long a report is repeated that meets a fault of the server.
    fault_patience: Duration,
    runs: HashMap<String, OfRun>,
    /// Runs with something to send, in the order in which it happened.
    ready: VecDeque<String>,
    /// Runs whose report could not be taken for now, by when to repeat it.
    later: Vec<(Instant, String)>,
    n_entries: usize,
    n_pushed: u64,
}

#[derive(Debug)]
struct OfRun {
    entries: VecDeque<Entry>,
    /// How many of the first entries are sent and unanswered.
    n_sent: usize,
    /// The epochs of sends that are to be repeated anyway, and whose outcomes are still to come. They may be of two: a
    /// session may say something of the attempt before while it has the run anew.
    ignored: VecDeque<u64>,
    backoff: Backoff,
    /// When the first of them met a fault of the server.
    faulty_since: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    /// Without its age, which is another each time it is sent.
    report: Report,
    happened_at: Instant,
    reply: Option<oneshot::Sender<ReportOutcome>>,
}

impl Reports {
    pub(crate) fn new(fault_patience: Duration) -> Self {
        Self {
            fault_patience,
            runs: HashMap::new(),
            ready: VecDeque::new(),
            later: Vec::new(),
            n_entries: 0,
            n_pushed: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.n_entries
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes in what is to be reported: what happened at `happened_at`.
    pub(crate) fn push(
        &mut self,
        report: Report,
        happened_at: Instant,
        reply: Option<oneshot::Sender<ReportOutcome>>,
    ) {
        let run_id = report.run_id.clone();
        let of_run = self.runs.entry(run_id.clone()).or_insert_with(|| OfRun {
            entries: VecDeque::new(),
            n_sent: 0,
            ignored: VecDeque::new(),
            backoff: Backoff::standard(),
            faulty_since: None,
        });
        self.n_pushed += 1;
        of_run.entries.push_back(Entry { seq: self.n_pushed, report, happened_at, reply });
        self.n_entries += 1;
        let waits = self.later.iter().any(|(_, later)| *later == run_id);
        if !waits && !self.ready.contains_last(&run_id) {
            self.ready.push_back(run_id);
        }
    }

    /// Up to `max` reports to send now, each with how long ago it happened.
    pub(crate) fn take(&mut self, max: usize) -> Vec<Report> {
        let now = Instant::now();
        let mut batch = Vec::new();
        let mut n_bytes = 0;
        while let Some(run_id) = self.ready.front() {
            let Some(of_run) = self.runs.get_mut(run_id) else {
                self.ready.pop_front();
                continue;
            };
            while let Some(entry) = of_run.entries.get(of_run.n_sent) {
                n_bytes += entry.report.encoded_len();
                let is_full = batch.len() >= max || n_bytes > MAX_MESSAGE_BYTES;
                if is_full && !batch.is_empty() {
                    return batch;
                }
                let age = now.saturating_duration_since(entry.happened_at).try_into().ok();
                batch.push(Report { age, ..entry.report.clone() });
                of_run.n_sent += 1;
            }
            self.ready.pop_front();
        }
        batch
    }

    /// Takes the answer to the oldest unanswered report of its run. The report, and who waits for the answer, when it
    /// is settled; `None` when it is to be repeated, or when this is the answer to nothing.
    pub(crate) fn answer(
        &mut self,
        outcome: &ReportOutcome,
    ) -> Option<(Report, Option<oneshot::Sender<ReportOutcome>>)> {
        let of_run = self.runs.get_mut(&outcome.run_id)?;
        if let Some(idx) = of_run.ignored.iter().position(|epoch| *epoch == outcome.epoch) {
            of_run.ignored.remove(idx);
            return None;
        }
        // The answer to a report of an earlier epoch, forgotten when the run was delivered anew.
        if of_run.entries.front().is_none_or(|entry| entry.report.epoch != outcome.epoch) {
            return None;
        }
        if of_run.n_sent == 0 {
            return None;
        }
        let may_pass = if ends::is_fault(outcome) {
            // It may be of this one report for good, so not for ever.
            of_run.faulty_since.get_or_insert_with(Instant::now).elapsed() < self.fault_patience
        } else {
            let reason = outcome.reason.as_str();
            !outcome.accepted && matches!(reason, "DEPENDENCY_UNAVAILABLE" | "OVERLOADED" | "DRAINING")
        };
        if may_pass {
            // What was sent after it may have been refused only because this one was: repeat all, in order.
            let repeated = of_run.entries.iter().take(of_run.n_sent).skip(1);
            of_run.ignored.extend(repeated.map(|entry| entry.report.epoch));
            of_run.n_sent = 0;
            self.later.push((Instant::now() + of_run.backoff.next(), outcome.run_id.clone()));
            return None;
        }
        of_run.n_sent -= 1;
        of_run.faulty_since = None;
        let entry = of_run.entries.pop_front()?;
        self.n_entries -= 1;
        if of_run.entries.is_empty() {
            self.runs.remove(&outcome.run_id);
        }
        Some((entry.report, entry.reply))
    }

    /// When the next repeat is due.
    pub(crate) fn next_repeat(&self) -> Option<Instant> {
        self.later.iter().map(|(at, _)| *at).min()
    }

    /// Makes due repeats ready.
    pub(crate) fn repeat_due(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, String)> = due;
        self.ready.extend(due.into_iter().map(|(_, run_id)| run_id));
    }

    /// A new stream: everything unanswered is to be sent again.
    pub(crate) fn resend_all(&mut self) {
        self.later.clear();
        let mut order: Vec<(u64, String)> = Vec::with_capacity(self.runs.len());
        for (run_id, of_run) in &mut self.runs {
            of_run.n_sent = 0;
            of_run.ignored.clear();
            if let Some(first) = of_run.entries.front() {
                order.push((first.seq, run_id.clone()));
            }
        }
        order.sort_unstable(); // in the order in which things happened
        self.ready = order.into_iter().map(|(_, run_id)| run_id).collect();
    }

    /// True when an end of the run, of `epoch` or a later one, is among the unanswered.
    pub(crate) fn has_end_of(&self, run_id: &str, epoch: u64) -> bool {
        let is_end = |entry: &Entry| entry.report.epoch >= epoch && ends::is_end(&entry.report);
        self.runs.get(run_id).is_some_and(|of_run| of_run.entries.iter().any(is_end))
    }

    /// Forgets the reports of a run that is no longer ours.
    pub(crate) fn forget(&mut self, run_id: &str) {
        if let Some(of_run) = self.runs.remove(run_id) {
            self.n_entries -= of_run.entries.len();
        }
        self.ready.retain(|ready| ready != run_id);
        self.later.retain(|(_, later)| later != run_id);
    }

    /// Forgets everything; who waits for an answer sees its channel closed.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.fault_patience);
    }
}

trait ContainsLast {
    fn contains_last(&self, run_id: &str) -> bool;
}

impl ContainsLast for VecDeque<String> {
    /// The usual case of a start and an end in a row, without a search of the whole queue. A run that is in it
    /// twice is harmless: the second turn finds nothing to send.
    fn contains_last(&self, run_id: &str) -> bool {
        self.back().is_some_and(|last| last == run_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::report;

    fn started(run: &str) -> Report {
        let event = Some(report::Event::Started(report::Started {}));
        Report { run_id: run.into(), epoch: 1, event, age: None }
    }

    fn completed(run: &str) -> Report {
        let event = Some(report::Event::Completed(report::Completed::default()));
        Report { run_id: run.into(), epoch: 1, event, age: None }
    }

    /// It happens now.
    fn push(reports: &mut Reports, report: Report) {
        reports.push(report, Instant::now(), None);
    }

    /// What is sent, without its age.
    fn take(reports: &mut Reports, max: usize) -> Vec<Report> {
        reports.take(max).into_iter().map(|report| Report { age: None, ..report }).collect()
    }

    fn accepted(run: &str) -> ReportOutcome {
        ReportOutcome { run_id: run.into(), epoch: 1, accepted: true, ..Default::default() }
    }

    fn refused(run: &str, reason: &str) -> ReportOutcome {
        ReportOutcome { run_id: run.into(), epoch: 1, reason: reason.into(), ..Default::default() }
    }

    #[test]
    fn reports_are_kept_until_answered_and_sent_again_in_order() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        push(&mut reports, started("a"));
        push(&mut reports, completed("a"));
        assert_eq!(take(&mut reports, 10), [started("a"), completed("a")]);
        assert!(take(&mut reports, 10).is_empty());
        assert_eq!(reports.answer(&accepted("a")).unwrap().0, started("a"));
        reports.resend_all();
        assert_eq!(take(&mut reports, 10), [completed("a")]);
        assert_eq!(reports.answer(&accepted("a")).unwrap().0, completed("a"));
        assert!(reports.is_empty());
    }

    #[test]
    fn a_fault_that_may_pass_repeats_the_report_and_all_after_it() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        push(&mut reports, started("a"));
        push(&mut reports, completed("a"));
        assert_eq!(take(&mut reports, 10).len(), 2);
        assert!(reports.answer(&refused("a", "OVERLOADED")).is_none());
        // The end had been refused because the start was missing; that answer counts for nothing.
        assert!(reports.answer(&refused("a", "TRANSITION_NOT_ALLOWED")).is_none());
        assert!(take(&mut reports, 10).is_empty(), "not before its time");
        reports.repeat_due(reports.next_repeat().unwrap());
        assert_eq!(take(&mut reports, 10), [started("a"), completed("a")]);
    }

    #[test]
    fn a_service_that_drains_gets_the_report_again() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        push(&mut reports, completed("a"));
        take(&mut reports, 10);
        assert!(reports.answer(&refused("a", "DRAINING")).is_none());
        reports.repeat_due(reports.next_repeat().unwrap());
        assert_eq!(take(&mut reports, 10), [completed("a")]);
    }

    #[test]
    fn a_fault_of_the_server_is_given_some_time() {
        for reason in ["INTERNAL", ""] {
            let mut reports = Reports::new(Duration::from_secs(3_600));
            push(&mut reports, completed("a"));
            take(&mut reports, 10);
            assert!(reports.answer(&refused("a", reason)).is_none());
            reports.repeat_due(reports.next_repeat().unwrap());
            assert_eq!(take(&mut reports, 10), [completed("a")]);
            assert_eq!(reports.answer(&accepted("a")).unwrap().0, completed("a"));

            let mut reports = Reports::new(Duration::ZERO);
            push(&mut reports, completed("a"));
            take(&mut reports, 10);
            assert_eq!(reports.answer(&refused("a", reason)).unwrap().0, completed("a"));
        }
    }

    #[test]
    fn an_answer_to_an_earlier_epoch_settles_nothing() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        push(&mut reports, completed("a"));
        take(&mut reports, 10);
        reports.forget("a"); // it was delivered again, under the next epoch
        let next = Report { epoch: 2, ..completed("a") };
        push(&mut reports, next.clone());
        take(&mut reports, 10);
        assert!(reports.answer(&refused("a", "STALE_EPOCH")).is_none());
        let answer = ReportOutcome { epoch: 2, ..accepted("a") };
        assert_eq!(reports.answer(&answer).unwrap().0, next);
    }

    #[test]
    fn a_repeat_over_two_epochs_leaves_no_answer_out() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        let of_epoch_2 = |outcome: ReportOutcome| ReportOutcome { epoch: 2, ..outcome };
        let next = Report { epoch: 2, ..completed("a") };
        push(&mut reports, completed("a")); // by code of the attempt before
        push(&mut reports, next.clone());
        assert_eq!(take(&mut reports, 10).len(), 2);
        assert!(reports.answer(&refused("a", "DEPENDENCY_UNAVAILABLE")).is_none());
        assert!(reports.answer(&of_epoch_2(refused("a", "DEPENDENCY_UNAVAILABLE"))).is_none());
        reports.repeat_due(reports.next_repeat().unwrap());
        assert_eq!(take(&mut reports, 10), [completed("a"), next.clone()]);
        assert_eq!(reports.answer(&refused("a", "STALE_EPOCH")).unwrap().0, completed("a"));
        assert!(reports.answer(&of_epoch_2(refused("a", "OVERLOADED"))).is_none(), "it is repeated");
        reports.repeat_due(reports.next_repeat().unwrap());
        assert_eq!(take(&mut reports, 10), std::slice::from_ref(&next));
        assert_eq!(reports.answer(&of_epoch_2(accepted("a"))).unwrap().0, next);
        assert!(reports.is_empty());
    }

    #[test]
    fn a_new_stream_gets_everything_in_the_order_in_which_it_happened() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        let runs: Vec<String> = (0..50).map(|n| format!("run-{n}")).collect();
        for run in &runs[..25] {
            push(&mut reports, completed(run));
        }
        take(&mut reports, 25);
        for run in &runs[25..] {
            push(&mut reports, completed(run));
        }
        reports.resend_all();
        let again: Vec<String> = take(&mut reports, 1_000).into_iter().map(|report| report.run_id).collect();
        assert_eq!(again, runs);
        assert_eq!(reports.len(), 50);
    }

    #[test]
    fn a_batch_has_at_most_as_many_as_the_service_takes() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        for run in ["a", "b", "c"] {
            push(&mut reports, completed(run));
        }
        assert_eq!(take(&mut reports, 2), [completed("a"), completed("b")]);
        assert_eq!(take(&mut reports, 2), [completed("c")]);
    }

    #[test]
    fn a_final_refusal_settles_the_report() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        push(&mut reports, completed("a"));
        take(&mut reports, 10);
        assert_eq!(reports.answer(&refused("a", "STALE_EPOCH")).unwrap().0, completed("a"));
        assert!(reports.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_older_each_time_it_is_sent() {
        let mut reports = Reports::new(Duration::from_secs(3_600));
        let ages = |reports: &mut Reports| -> Vec<Duration> {
            let sent = reports.take(10).into_iter();
            sent.map(|report| report.age.and_then(|age| age.try_into().ok()).expect("is told")).collect()
        };
        let ms = Duration::from_millis;
        reports.push(started("a"), Instant::now(), None);
        tokio::time::advance(ms(20)).await;
        reports.push(completed("a"), Instant::now() - ms(5), None); // it has waited in a queue before it came here
        assert_eq!(ages(&mut reports), [ms(20), ms(5)]);
        tokio::time::advance(ms(100)).await;
        reports.resend_all();
        assert_eq!(ages(&mut reports), [ms(120), ms(105)], "on a new stream");
        assert!(reports.answer(&accepted("a")).is_some_and(|(report, _)| report == started("a")));
        assert!(reports.answer(&refused("a", "OVERLOADED")).is_none());
        let repeat_at = reports.next_repeat().expect("is repeated");
        tokio::time::advance(repeat_at - Instant::now()).await;
        reports.repeat_due(Instant::now());
        assert!(ages(&mut reports)[0] > ms(105), "after a fault that may pass");
    }
}

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tidegate_sdk::proto::{RunEvent, RunKind, StateType};

/// What the events of the demo's runs say so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files to do.
    pub n_files: usize,
    /// Tasks that have ended as COMPLETED.
    pub n_done: usize,
    /// Runs that have ended in any other way.
    pub n_bad: usize,
    /// Times a run became CRASHED and was to be delivered again.
    pub n_crashed: usize,
    /// Of these, how often a run has been started again.
    pub n_redelivered: usize,
    /// From the start to the end of the last task so far.
    pub files_took: Duration,
    /// Runs that crashed and were not started again yet.
    crashed: HashSet<String>,
    /// Which worker holds a run.
    holders: HashMap<String, String>,
}

impl Progress {
    /// Nothing done of `n_files`.
    pub fn new(n_files: usize) -> Self {
        Self { n_files, ..Self::default() }
    }

    /// Takes in one event.
    pub fn note(&mut self, event: &RunEvent) {
        let state = event.state.as_ref().map_or(StateType::Unspecified, |state| state.r#type());
        if event.ended {
            if state != StateType::Completed {
                self.n_bad += 1;
            } else if event.kind() == RunKind::Task {
                self.n_done += 1;
            }
        }
        match state {
            StateType::Running => {
                self.holders.insert(event.run_id.clone(), event.holder.clone());
                if self.crashed.remove(&event.run_id) {
                    self.n_redelivered += 1;
                }
            }
            StateType::Crashed => {
                self.holders.remove(&event.run_id);
                self.n_crashed += 1;
                if !event.ended {
                    self.crashed.insert(event.run_id.clone());
                }
            }
            _ => {
                self.holders.remove(&event.run_id);
            }
        }
    }

    /// Which worker holds the run `id`, where one does.
    pub fn holder(&self, id: &str) -> Option<&str> {
        self.holders.get(id).map(String::as_str)
    }

    /// How many runs the worker `holder` executes now.
    pub fn n_held(&self, holder: &str) -> usize {
        self.holders.values().filter(|known| *known == holder).count()
    }

    /// How many runs execute now, by what their workers have said.
    pub fn n_running(&self) -> usize {
        self.holders.len()
    }

    /// Done, in percent.
    pub fn percent(&self) -> usize {
        (self.n_done * 100).checked_div(self.n_files).unwrap_or(100)
    }

    /// Tasks a second, while there were any.
    pub fn rate(&self) -> f64 {
        self.n_done as f64 / self.files_took.as_secs_f64().max(0.001)
    }

    /// One line: counts, rate, redeliveries.
    pub fn line(&self) -> String {
        let rate = self.rate();
        let mut line = format!(
            "{:>3} %  {} of {} files  {rate:.0} tasks/s  {} running",
            self.percent(),
            grouped(self.n_done as u64),
            grouped(self.n_files as u64),
            self.n_running(),
        );
        if self.n_crashed > 0 {
            line.push_str(&format!("  {} crashed, {} delivered again", self.n_crashed, self.n_redelivered));
        }
        line
    }
}

/// A number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::proto::State;

    use super::*;

    fn event(run: &str, state: StateType, ended: bool) -> RunEvent {
        RunEvent {
            run_id: run.into(),
            kind: RunKind::Task.into(),
            state: Some(State { r#type: state.into(), ..State::default() }),
            ended,
            ..RunEvent::default()
        }
    }

    #[test]
    fn a_crash_and_its_redelivery_are_counted() {
        let mut progress = Progress::new(2);
        progress.note(&event("a", StateType::Running, false));
        progress.note(&event("b", StateType::Running, false));
        assert_eq!(progress.n_running(), 2);
        progress.note(&event("a", StateType::Completed, true));
        progress.note(&event("b", StateType::Crashed, false));
        assert_eq!((progress.n_done, progress.n_crashed, progress.n_redelivered), (1, 1, 0));
        progress.note(&event("b", StateType::Scheduled, false));
        progress.note(&event("b", StateType::Running, false));
        progress.note(&event("b", StateType::Completed, true));
        assert_eq!((progress.n_done, progress.n_redelivered, progress.n_bad), (2, 1, 0));
        progress.files_took = Duration::from_secs(2);
        let line = progress.line();
        assert_eq!(line, "100 %  2 of 2 files  1 tasks/s  0 running  1 crashed, 1 delivered again");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}

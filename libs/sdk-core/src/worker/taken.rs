use std::collections::{HashMap, VecDeque};

/// So many assignments are remembered. A repeat comes within seconds: the service claims a run a second time where it
/// cannot tell whether the first claim has reached anybody, and only as long as the store has the run under that epoch.
const REMEMBERED: usize = 20_000;

/// The latest assignments that this process has taken. An epoch is assigned once; that a run is not held any more does not
/// make its assignment a new one.
#[derive(Debug, Default)]
pub(super) struct Taken {
    epochs: HashMap<String, u64>,
    /// The oldest first.
    order: VecDeque<(String, u64)>,
}

impl Taken {
    /// Notes an assignment. False: it was taken before, or one of a later epoch was.
    pub(super) fn note(&mut self, run_id: &str, epoch: u64) -> bool {
        if self.epochs.get(run_id).is_some_and(|known| *known >= epoch) {
            return false;
        }
        self.epochs.insert(run_id.to_owned(), epoch);
        self.order.push_back((run_id.to_owned(), epoch));
        if self.order.len() > REMEMBERED
            && let Some((oldest, epoch)) = self.order.pop_front()
            && self.epochs.get(&oldest) == Some(&epoch)
        {
            self.epochs.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_new_once() {
        let mut taken = Taken::default();
        for (run_id, epoch, is_new) in [
            ("a", 1, true),
            ("a", 1, false),
            ("b", 1, true),
            ("a", 3, true),
            ("a", 2, false),
            ("a", 3, false),
        ] {
            assert_eq!(taken.note(run_id, epoch), is_new, "{run_id} {epoch}");
        }
    }

    #[test]
    fn the_latest_are_remembered() {
        let mut taken = Taken::default();
        let run_ids: Vec<String> = (0..=REMEMBERED).map(|idx| idx.to_string()).collect();
        assert!(taken.note(&run_ids[0], 1) && taken.note(&run_ids[0], 2));
        assert!(run_ids[1..].iter().all(|run_id| taken.note(run_id, 1)));
        assert_eq!((taken.epochs.len(), taken.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!taken.note(&run_ids[1], 1));
        assert!(taken.note(&run_ids[0], 1), "it is too long ago");
        assert!(taken.note(&run_ids[1], 1), "and has taken the place of the oldest");
    }
}

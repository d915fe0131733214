use std::{collections::BTreeMap, time::Duration};

use tidegate_model::Timestamp;
use tidegate_store::AutomationKey;

/// Firings that this replica carries out at once.
const MOST: usize = 64;
/// Of one automation.
const MOST_EACH: usize = 16;
/// How many of one are taken at once. One that has more than the rest of [`MOST_EACH`] under way is left out.
const TAKE_EACH: usize = 8;
/// Places of automations that fail or are slow, all of them together, and of one of them: a web server that is slow or dead
/// fills its places until the timeout of each, and none that another automation could have.
const FAILING: usize = 16;
const FAILING_EACH: usize = 2;
/// An automation that has not failed for so long is not known to fail: longer than a firing waits for its next try.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// Which automations have how many firings under way, and which of them fail.
#[derive(Debug, Default)]
pub(super) struct Places {
    under_way: BTreeMap<AutomationKey, usize>,
    /// Those whose last try failed or was slow, and when.
    failing: BTreeMap<AutomationKey, Timestamp>,
}

/// Which firings have a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub limit: usize,
    pub limit_each: usize,
    pub except: Vec<AutomationKey>,
}

impl Places {
    pub fn begin(&mut self, key: &AutomationKey) {
        *self.under_way.entry(key.clone()).or_default() += 1;
    }

    pub fn end(&mut self, key: &AutomationKey) {
        if let Some(n_under_way) = self.under_way.get_mut(key) {
            *n_under_way -= 1;
            if *n_under_way == 0 {
                self.under_way.remove(key);
            }
        }
    }

    /// How the last try of an automation went: well, or it failed or was slow.
    pub fn note(&mut self, key: &AutomationKey, is_well: bool, now: Timestamp) {
        if is_well {
            self.failing.remove(key);
        } else {
            self.failing.insert(key.clone(), now);
        }
    }

    /// Forgets what failed long ago: it may be paused, or gone.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.failing.retain(|_, failed_at| now.since(*failed_at) < FORGOTTEN_AFTER);
    }

    /// For automations that are not known to fail. `None`: there is none.
    pub fn for_well(&self) -> Option<Room> {
        let (n_well, n_failing) = self.counts();
        let kept_back = if self.failing.is_empty() { 0 } else { FAILING.saturating_sub(n_failing) };
        let full = self.under_way.iter().filter(|(_, n)| **n > MOST_EACH - TAKE_EACH).map(|(key, _)| key);
        let mut except: Vec<_> = self.failing.keys().chain(full).cloned().collect();
        except.sort_unstable();
        except.dedup();
        room(MOST.saturating_sub(n_well + n_failing + kept_back), TAKE_EACH, except)
    }

    /// For those that fail, after all others had theirs. `None`: there is none, or none fails.
    pub fn for_failing(&self) -> Option<Room> {
        if self.failing.is_empty() {
            return None;
        }
        let (n_well, n_failing) = self.counts();
        let limit = FAILING.saturating_sub(n_failing).min(MOST.saturating_sub(n_well + n_failing));
        let is_full = |(key, n): &(&AutomationKey, &usize)| **n >= self.most_of(key);
        let except = self.under_way.iter().filter(is_full).map(|(key, _)| key.clone()).collect();
        room(limit, 1, except)
    }

    /// True where firings may have been left out for want of a place.
    pub fn are_tight(&self) -> bool {
        let (n_well, n_failing) = self.counts();
        let is_full =
            |(key, n): (&AutomationKey, &usize)| *n > MOST_EACH - TAKE_EACH || *n >= self.most_of(key);
        n_well + n_failing + FAILING >= MOST || n_failing >= FAILING || self.under_way.iter().any(is_full)
    }

    /// Firings under way of automations that are not known to fail, and of others.
    fn counts(&self) -> (usize, usize) {
        self.under_way.iter().fold((0, 0), |(n_well, n_failing), (key, n)| {
            if self.failing.contains_key(key) { (n_well, n_failing + n) } else { (n_well + n, n_failing) }
        })
    }

    fn most_of(&self, key: &AutomationKey) -> usize {
        if self.failing.contains_key(key) { FAILING_EACH } else { MOST_EACH }
    }
}

fn room(limit: usize, limit_each: usize, except: Vec<AutomationKey>) -> Option<Room> {
    (limit > 0).then_some(Room { limit, limit_each, except })
}

#[cfg(test)]
mod tests {
    use tidegate_model::Namespace;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    fn key(name: &str) -> AutomationKey {
        AutomationKey { namespace: Namespace::default(), name: name.parse().expect("is a name") }
    }

    /// Has all that there is: endless firings of these automations.
    fn fill(places: &mut Places, names: &[&str]) {
        for room_of in [Places::for_well as fn(&Places) -> Option<Room>, Places::for_failing] {
            while let Some(Room { limit, limit_each, except }) = room_of(places) {
                let free = names.iter().map(|name| key(name)).filter(|key| !except.contains(key));
                let taken: Vec<_> =
                    free.flat_map(|key| std::iter::repeat_n(key, limit_each)).take(limit).collect();
                if taken.is_empty() {
                    break;
                }
                taken.iter().for_each(|key| places.begin(key));
            }
        }
    }

    fn n_under_way(places: &Places, names: &[&str]) -> Vec<usize> {
        names.iter().map(|name| places.under_way.get(&key(name)).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn one_automation_has_a_quarter_of_the_places() {
        let mut places = Places::default();
        assert!(!places.are_tight());
        fill(&mut places, &["a"]);
        assert_eq!(n_under_way(&places, &["a"]), [16]);
        assert!(places.are_tight());
        fill(&mut places, &["a", "b", "c", "d", "e"]);
        let n_each = n_under_way(&places, &["a", "b", "c", "d", "e"]);
        assert_eq!((n_each[0], n_each.iter().sum::<usize>()), (16, MOST));
        assert_eq!((places.for_well(), places.for_failing()), (None, None));
        for _ in 0..16 {
            places.end(&key("a"));
        }
        assert_eq!(n_under_way(&places, &["a"]), [0]);
        assert_eq!(places.for_well().map(|room| room.limit), Some(16));
    }

    #[test]
    fn those_that_fail_take_no_place_of_others() {
        let (mut places, dead) =
            (Places::default(), ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"]);
        fill(&mut places, &dead[..4]);
        assert_eq!(places.for_well(), None, "nothing is known of them yet");
        for name in dead {
            places.note(&key(name), false, NOW);
        }
        for name in &dead[..4] {
            (0..16).for_each(|_| places.end(&key(name)));
        }
        fill(&mut places, &dead);
        let n_dead = n_under_way(&places, &dead);
        assert!(n_dead.iter().all(|n| *n <= FAILING_EACH), "{n_dead:?}");
        assert_eq!(n_dead.iter().sum::<usize>(), FAILING);
        fill(&mut places, &["a", "b", "c", "d"]);
        assert_eq!(n_under_way(&places, &["a", "b", "c", "d"]).iter().sum::<usize>(), MOST - FAILING);
    }

    #[test]
    fn one_that_succeeds_or_has_not_failed_for_long_is_well() {
        let mut places = Places::default();
        places.note(&key("a"), false, NOW);
        places.note(&key("b"), false, NOW);
        assert_eq!(places.for_well().map(|room| room.except), Some(vec![key("a"), key("b")]));
        places.note(&key("a"), true, NOW);
        assert_eq!(places.for_well().map(|room| room.except), Some(vec![key("b")]));
        places.note(&key("c"), false, NOW + FORGOTTEN_AFTER);
        places.forget_old(NOW + FORGOTTEN_AFTER);
        assert_eq!(places.for_well().map(|room| room.except), Some(vec![key("c")]));
    }
}

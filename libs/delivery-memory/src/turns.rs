use std::collections::{BTreeSet, HashMap};

use tidegate_model::FairnessKey;

use crate::lane::LaneId;

/// Whose turn it is in a queue: the group with the smallest turn comes first. Knows of the groups with ready entries only,
/// and of no turn while there are none.
#[derive(Default)]
pub(crate) struct Turns {
    latest: u64,
    /// Of the entries without a fairness key.
    keyless: u64,
    groups: HashMap<FairnessKey, Group>,
}

struct Group {
    turn: u64,
    /// Where it has ready entries.
    lanes: BTreeSet<LaneId>,
}

impl Turns {
    fn next(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }

    pub(crate) fn keyless(&self) -> u64 {
        self.keyless
    }

    /// A group has ready entries in a lane. Gives its turn: behind all others, where it had none before.
    pub(crate) fn enter(&mut self, key: &FairnessKey, lane: &LaneId) -> u64 {
        if !self.groups.contains_key(key) {
            let turn = self.next();
            self.groups.insert(key.clone(), Group { turn, lanes: BTreeSet::new() });
        }
        let group = self.groups.get_mut(key).expect("it has just been put in");
        group.lanes.insert(lane.clone());
        group.turn
    }

    /// A group has no ready entries in a lane any more.
    pub(crate) fn leave(&mut self, key: &FairnessKey, lane: &LaneId) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.lanes.remove(lane);
        if group.lanes.is_empty() {
            self.groups.remove(key);
        }
        if self.groups.is_empty() {
            *self = Self::default();
        }
    }

    /// A group is served: it comes behind all others. Gives its turn and the lanes to be told of it.
    pub(crate) fn serve(&mut self, key: &FairnessKey) -> (u64, impl Iterator<Item = &LaneId>) {
        let turn = self.next();
        let group = self.groups.get_mut(key);
        let lanes = group.map(|group| {
            group.turn = turn;
            &group.lanes
        });
        (turn, lanes.into_iter().flatten())
    }

    /// An entry without a key is served.
    pub(crate) fn serve_keyless(&mut self) {
        if !self.groups.is_empty() {
            self.keyless = self.next();
        }
    }

    /// How many groups are known.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }
}

//! How many bytes of objects this process holds at a time, and for whom.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidegate_model::Namespace;

use crate::{PayloadError, storage::MAX_HELD};

/// What the bytes are held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// An upload, as fast as its client sends it: maybe for long.
    Stream,
    /// A value that is at hand: for seconds.
    Value,
}

/// Whoever sends slowly holds room for long, so uploads of all leave a part to values, and one namespace leaves as much as
/// it may take itself to others. Uploads and values of a namespace are counted apart, so that its uploads do not keep its
/// own reports from being taken. Where all of it is little, one large upload still goes through.
#[derive(Debug)]
pub(crate) struct Rooms {
    max: u64,
    max_streamed: u64,
    /// Of one namespace for one use.
    max_share: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: u64,
    streamed: u64,
    /// Without those that are 0.
    shares: HashMap<(Namespace, Use), u64>,
}

impl Rooms {
    pub fn new(max: u64) -> Self {
        let max_streamed = (max - max / 4).max(MAX_HELD);
        let max_share = (max / 2).max(MAX_HELD);
        Self { max, max_streamed, max_share, held: Mutex::default() }
    }

    /// Room for what is held of an object of `size` bytes while it is written.
    pub fn take(self: &Arc<Self>, namespace: &Namespace, of: Use, size: u64) -> Result<Room, PayloadError> {
        let n_bytes = size.min(MAX_HELD);
        let owner = (namespace.clone(), of);
        let mut held = self.held();
        let share = held.shares.get(&owner).copied().unwrap_or(0);
        let is_streamed_too_much = of == Use::Stream && held.streamed + n_bytes > self.max_streamed;
        if held.all + n_bytes > self.max || share + n_bytes > self.max_share || is_streamed_too_much {
            return Err(PayloadError::Overloaded);
        }
        held.all += n_bytes;
        if of == Use::Stream {
            held.streamed += n_bytes;
        }
        held.shares.insert(owner.clone(), share + n_bytes);
        drop(held);
        Ok(Room { rooms: Arc::clone(self), owner, n_bytes })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for an object under way. Dropped, it is another's.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Arc<Rooms>,
    owner: (Namespace, Use),
    n_bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut held = self.rooms.held();
        held.all -= self.n_bytes;
        if self.owner.1 == Use::Stream {
            held.streamed -= self.n_bytes;
        }
        if let Some(share) = held.shares.get_mut(&self.owner) {
            *share -= self.n_bytes;
            if *share == 0 {
                held.shares.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_leaves_nothing() {
        let rooms = Arc::new(Rooms::new(4 * MAX_HELD));
        let own = Namespace::default();
        for _ in 0..3 {
            let uploads = [1, 2].map(|_| rooms.take(&own, Use::Stream, u64::MAX).unwrap());
            let value = rooms.take(&own, Use::Value, 1).unwrap();
            assert!(rooms.take(&own, Use::Stream, 1).is_err());
            drop((uploads, value));
            let held = rooms.held();
            assert_eq!((held.all, held.streamed, held.shares.len()), (0, 0, 0));
        }
    }
}

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tidegate_model::Namespace;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a few dear looks go at a time, and of each namespace one: a tenant with many waits for itself.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    /// Those of namespaces that have one, or wait for one.
    by_namespace: Mutex<HashMap<Namespace, Weak<Semaphore>>>,
}

/// To be kept for as long as the look goes on.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_namespace: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new(n_at_a_time: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(n_at_a_time)), by_namespace: Mutex::default() }
    }

    /// Waits for a turn. `None`: never, as nobody closes the semaphores.
    pub(crate) async fn take(&self, namespace: &Namespace) -> Option<Turn> {
        let of_namespace = self.of(namespace).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _of_namespace: of_namespace, _of_all: of_all })
    }

    fn of(&self, namespace: &Namespace) -> Arc<Semaphore> {
        let mut known = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = known.get(namespace).and_then(Weak::upgrade) {
            return semaphore;
        }
        known.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(1));
        known.insert(namespace.clone(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_namespace_waits_for_itself_and_all_for_the_few() {
        let turns = Turns::new(2);
        let name = |name: &str| name.parse::<Namespace>().unwrap();
        let first = turns.take(&name("first")).await;
        assert!(turns.take(&name("first")).now_or_never().is_none(), "it has one");
        let second = turns.take(&name("second")).now_or_never().flatten();
        assert!(second.is_some(), "another has not");
        assert!(turns.take(&name("third")).now_or_never().is_none(), "two go at a time");
        drop(first);
        assert!(turns.take(&name("first")).now_or_never().flatten().is_some());
        drop(second);
        let _third = turns.take(&name("third")).await;
        assert_eq!(turns.by_namespace.lock().unwrap().len(), 1, "what nobody has is forgotten");
    }
}

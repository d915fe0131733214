use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes of it that the service keeps.
const MAX_SIZE: usize = 512;

/// Tells what keeps a run from beginning: the server shows it (`ExplainRun`) until it is over, or the run is no longer held.
#[derive(Clone, Debug)]
pub struct Hindrance {
    message: Arc<Mutex<String>>,
    changed: Arc<Notify>,
}

impl Hindrance {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Self { message: Arc::default(), changed }
    }

    /// One sentence for people. Empty: nothing does any more.
    pub fn say(&self, message: &str) {
        let message = &message[..message.floor_char_boundary(MAX_SIZE)];
        let mut known = self.lock();
        if *known != message {
            message.clone_into(&mut known);
            self.changed.notify_one();
        }
    }

    /// What was said last.
    pub(super) fn said(&self) -> String {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

use std::ops::Deref;

use tidegate_sdk_core::{Error, ErrorKind, runtime};

/// A part of the core that lives in the process which made it.
///
/// A forked child has a copy without the threads that belong to it. There it is not even dropped: a thread that the
/// child does not have may have held a lock of it when the process was forked.
pub(crate) struct OfProcess<T> {
    /// None once it is being dropped.
    part: Option<T>,
    pid: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(part: T) -> Self {
        Self { part: Some(part), pid: std::process::id() }
    }

    /// False in a forked child.
    pub(crate) fn is_here(&self) -> bool {
        runtime::is_of_this_process(self.pid)
    }
}

impl<T> Deref for OfProcess<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.part.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.is_here() {
            std::mem::forget(self.part.take());
        }
    }
}

/// What a forked child is told that wants something of its parent's.
pub(crate) fn is_elsewhere() -> Error {
    Error::new(
        ErrorKind::FailedPrecondition,
        "this process was forked inside of a run, which is reported by the process that it was forked from: end a child \
         by os._exit(), as multiprocessing does, and use nothing there that was made before the fork",
    )
}

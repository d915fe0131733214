//! The thread on which the core lives.
//!
//! There is one runtime per process, made at first use and never shut down: it must outlive every user
//! thread. A forked child has none of its parent's threads, so it gets a runtime of its own; whoever holds
//! a [`crate::Client`] across a fork must make a new one (see [`is_of_this_process`]).

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

use crate::{Error, ErrorKind};

static CURRENT: Mutex<Option<(u32, Handle)>> = Mutex::new(None);

/// The core's runtime in this process.
///
/// # Errors
/// `Internal` when the operating system gives no thread.
pub fn handle() -> Result<Handle, Error> {
    let pid = std::process::id();
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, handle)) = &*current
        && *owner == pid
    {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4)
        .thread_name("tidegate-core")
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, format!("cannot start the connection thread: {error}"))
        })?;
    let handle = runtime.handle().clone();
    std::mem::forget(runtime); // dropping it would stop the core under its users
    *current = Some((pid, handle.clone()));
    Ok(handle)
}

/// False in a forked child for what its parent made with process id `pid`.
pub fn is_of_this_process(pid: u32) -> bool {
    pid == std::process::id()
}

/// True for this process's own runtime; false in a forked child for its parent's.
pub fn is_current(runtime: &Handle) -> bool {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current.as_ref().is_some_and(|(owner, handle)| is_of_this_process(*owner) && handle.id() == runtime.id())
}

/// Runs `task` on `runtime`. A panic of it is a fault of ours: it is logged, and whoever waits for an answer
/// of the task finds its channel closed.
pub(crate) fn spawn<F>(runtime: &Handle, name: &'static str, task: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.spawn(async move {
        let caught = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(task)).await;
        if caught.is_err() {
            tracing::error!("the connection task `{name}` panicked");
        }
    })
}

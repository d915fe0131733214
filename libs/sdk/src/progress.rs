use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tidegate_sdk_core::{Error, ErrorKind};
use tokio::sync::watch;

/// How a submitted run stands, for all who look at it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) name: &'static str,
    run_id: Mutex<Option<String>>,
    /// Someone has asked how it ended.
    seen: AtomicBool,
    end: watch::Sender<Option<Result<(), Error>>>,
}

impl Progress {
    pub(crate) fn new(name: &'static str) -> Self {
        let end = watch::Sender::new(None);
        Self { name, run_id: Mutex::default(), seen: AtomicBool::new(false), end }
    }

    pub(crate) fn run_id(&self) -> Option<String> {
        self.run_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_run_id(&self, run_id: &str) {
        *self.run_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(run_id.to_owned());
    }

    pub(crate) fn see(&self) {
        self.seen.store(true, Ordering::Release);
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Acquire)
    }

    pub(crate) fn finish(&self, end: Result<(), Error>) {
        self.end.send_replace(Some(end));
    }

    /// `None`: it has not ended.
    pub(crate) fn end(&self) -> Option<Result<(), Error>> {
        self.end.borrow().clone()
    }

    pub(crate) async fn ended(&self) -> Result<(), Error> {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.map(|end| end.clone());
        // The sender is in `self`.
        ended.ok().flatten().unwrap_or(Ok(()))
    }
}

/// Tells on drop whoever waits for the end of a run that there will be none: the runtime that executed it is gone.
pub(crate) struct GivesUp(pub(crate) Arc<Progress>);

impl Drop for GivesUp {
    fn drop(&mut self) {
        let name = self.0.name;
        self.0.end.send_if_modified(|end| {
            let is_cut_off = end.is_none();
            if is_cut_off {
                *end = Some(Err(given_up(name)));
            }
            is_cut_off
        });
    }
}

pub(crate) fn given_up(name: &str) -> Error {
    let message = format!("`{name}` was given up: the Tokio runtime that executed it has ended");
    Error::new(ErrorKind::RunCrashed, message)
}

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{
    Error, ErrorKind, Pauser,
    proto::{Payload, report},
};

use crate::json;

/// A pause of a run's code, to be made by [`Wait::resumed`] or [`Wait::input`].
///
/// The run is PAUSED until someone resumes it (`tidegate run resume`, `RunService.ResumeRun`). The key names the
/// place in the code: an attempt that comes again to a pause that was resumed does not stop there, and reads the same
/// input.
#[derive(Debug)]
#[must_use = "the code waits only in `resumed` or `input`"]
pub struct Wait {
    pauser: Pauser,
    pause: Result<report::Paused, Error>,
}

impl Wait {
    pub(crate) fn new(pauser: Pauser, key: String) -> Self {
        let pause = report::Paused { key, timeout: None, suspend: false, request: None };
        Self { pauser, pause: Ok(pause) }
    }

    /// How long it waits before the run fails: 1 s to 365 days. Default: for ever.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.pause = self.pause.and_then(|pause| {
            let timeout = prost_types::Duration::try_from(timeout).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("timeout {timeout:?} is too long: {error}"))
            })?;
            Ok(report::Paused { timeout: Some(timeout), ..pause })
        });
        self
    }

    /// What the code asks for; whoever resumes the run can read it.
    pub fn request<T: Serialize + ?Sized>(mut self, request: &T) -> Self {
        self.pause = self
            .pause
            .and_then(|pause| Ok(report::Paused { request: Some(json::to_payload(request)?), ..pause }));
        self
    }

    /// Gives the worker's slot back while the run waits. The code is dropped here, and runs from its start when the
    /// run is resumed.
    pub fn suspend(mut self) -> Self {
        self.pause = self.pause.map(|pause| report::Paused { suspend: true, ..pause });
        self
    }

    /// Waits until the run is resumed.
    ///
    /// # Errors
    /// The server does not allow the pause: its key is malformed, or the run has paused too often.
    pub async fn resumed(self) -> Result<(), Error> {
        self.wait().await.map(drop)
    }

    /// Waits until the run is resumed, and gives what it is resumed with; nothing reads as `null`.
    ///
    /// # Errors
    /// As [`Wait::resumed`], or the input is no `T`.
    pub async fn input<T: DeserializeOwned>(self) -> Result<T, Error> {
        json::from_payload(self.wait().await?.as_ref())
    }

    async fn wait(self) -> Result<Option<Payload>, Error> {
        self.pauser.pause(self.pause?).await
    }
}

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tidegate_sdk_core::{self as core, Error, Options, SlotOptions, Slots, proto::RunKind};

use crate::{Call, RunHandle};

static SHARED: Mutex<Option<Client>> = Mutex::new(None);

/// Starts runs and finds them again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    core: core::Client,
}

impl Client {
    /// A client for the server at TIDEGATE_ADDRESS (default `http://127.0.0.1:4400`) and the namespace
    /// TIDEGATE_NAMESPACE (default `default`). It connects with its first call.
    ///
    /// # Errors
    /// `InvalidArgument` when the address is none.
    pub fn connect_from_env() -> Result<Self, Error> {
        Self::with_options(Options::from_env()?)
    }

    /// The client of this process: made by [`Client::connect_from_env`] when it is first needed, or given before that
    /// by
    /// [`Client::share`]. Calls outside of any run go through it.
    ///
    /// # Errors
    /// `InvalidArgument` when the address is none.
    pub fn shared() -> Result<Self, Error> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some(client) if client.core.is_of_this_process() => Ok(client.clone()),
            _ => Ok(shared.insert(Self::connect_from_env()?).clone()),
        }
    }

    /// Makes this the client of this process; see [`Client::shared`].
    pub fn share(&self) {
        *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// A client for the server at `address`, such as `http://127.0.0.1:4400`.
    ///
    /// # Errors
    /// `InvalidArgument` when the address is none.
    pub fn connect(address: &str, namespace: &str) -> Result<Self, Error> {
        Self::with_options(Options::new(address, namespace)?)
    }

    /// A client with other bounds than the default ones.
    ///
    /// # Errors
    /// `InvalidArgument` when the address is none.
    pub fn with_options(mut options: Options) -> Result<Self, Error> {
        options.sdk = concat!("tidegate-rust/", env!("CARGO_PKG_VERSION")).into();
        Ok(Self { core: core::Client::new(options)? })
    }

    /// A call of the task `name`.
    pub fn task(&self, name: impl Into<String>) -> Call {
        Call::new(self.clone(), RunKind::Task, name.into())
    }

    /// A call of the flow `name`.
    pub fn flow(&self, name: impl Into<String>) -> Call {
        Call::new(self.clone(), RunKind::Flow, name.into())
    }

    /// A run of a deployment, by its name `flow/deployment`. What the call does not say is as the deployment has it; its
    /// parameters go over those of the deployment.
    pub fn deployment(&self, name: impl Into<String>) -> Call {
        Call::new(self.clone(), RunKind::Flow, String::new()).deployment(name)
    }

    /// A run that is there already, started by whatever process.
    pub fn handle(&self, run_id: impl Into<String>) -> RunHandle {
        RunHandle::new(self.clone(), run_id.into())
    }

    /// What this stands on: the same operations on messages, and local runs and log lines as they travel.
    pub fn core(&self) -> &core::Client {
        &self.core
    }

    /// Takes slots and tokens of each of these concurrency limits, all or none. They are held until what this gives
    /// is released or dropped; its lease is renewed meanwhile.
    ///
    /// # Errors
    /// `DeadlineExceeded` when `options.timeout` passed first; `NotFound` where a limit must exist and does not;
    /// `InvalidArgument`, `Unavailable`.
    pub async fn acquire_slots<S: Into<String>>(
        &self,
        limits: impl IntoIterator<Item = S>,
        options: SlotOptions,
    ) -> Result<Slots, Error> {
        self.core.acquire_slots(limits, options).await
    }

    /// Flushes logs and reports within `deadline`. Call it before the process ends.
    pub async fn close(&self, deadline: Duration) {
        self.core.close(deadline).await;
    }
}

//! What `#[task]` and `#[flow]` write their code with. Not for use by hand.

use std::{error::Error as StdError, fmt::Display};

pub use futures::future::BoxFuture;
pub use serde;
use tidegate_sdk_core::proto::Failure;

use crate::{Context, Level, failure};

/// A `Result`, under whatever alias.
pub trait Fallible {
    /// What is in it.
    type Value;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
}

/// The end of code that may fail; `retry_if` says whether another attempt may help.
pub fn ended<T, E>(result: Result<T, E>, retry_if: impl FnOnce(&E) -> bool) -> Result<T, Failure>
where
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    result.map_err(|error| {
        let is_final = !retry_if(&error);
        let mut failure = failure::failure_of(error);
        failure.non_retryable |= is_final;
        failure
    })
}

/// Tells a `Result` from other types: `Probe::<T>::IS_RESULT`.
#[derive(Debug)]
pub struct Probe<T>(std::marker::PhantomData<T>);

impl<T, E> Probe<Result<T, E>> {
    /// It is one.
    pub const IS_RESULT: bool = true;
}

/// Of every [`Probe`]; what it has of its own comes first.
pub trait NoResult {
    /// It is none.
    const IS_RESULT: bool = false;
}

impl<T> NoResult for Probe<T> {}

/// What a hook may give.
pub trait Hooked {
    /// Why it failed, if it did.
    fn error(self) -> Option<String>;
}

impl Hooked for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display> Hooked for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| format!("{error:#}"))
    }
}

/// A hook that has failed is told in the run's log; the run stays as it is.
pub fn hooked(context: &Context, name: &str, result: impl Hooked) {
    if let Some(error) = result.error() {
        context.log(Level::Error, format!("the hook `{name}` failed: {error}"));
    }
}

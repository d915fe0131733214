use std::panic::AssertUnwindSafe;

use futures::{FutureExt as _, future::BoxFuture};
use tidegate_sdk_core::proto::Failure;

use crate::{Context, Level, failure};

/// The hooks that need no result.
#[derive(Clone, Copy)]
pub(crate) struct Hooks {
    pub(crate) on_failure: for<'a> fn(&'a Context, &'a Failure) -> BoxFuture<'a, ()>,
    pub(crate) on_cancellation: for<'a> fn(&'a Context) -> BoxFuture<'a, ()>,
}

/// Calls a hook. One that panics is told in the run's log; the run stays as it is.
pub(crate) async fn call(context: &Context, hook: BoxFuture<'_, ()>) {
    if let Err(panic) = context.hook(AssertUnwindSafe(hook).catch_unwind()).await {
        let message = failure::failure_of_panic(&*panic).message;
        context.log(Level::Error, format!("a hook of `{}` panicked: {message}", context.name()));
    }
}

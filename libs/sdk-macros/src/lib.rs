//! `#[task]` and `#[flow]` of `tidegate-sdk`, which exports them; see there.

mod durations;
mod expand;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Makes an async function a task: a unit of work.
///
/// `#[task] async fn add(a: i64, b: i64) -> Result<i64, MyError>` becomes a function of `a` and `b` that gives a `Call`: awaited, it is
/// executed here; `.submit()` executes it in the background, `.delay()` has a worker do so. A parameter of the type
/// `Context` is passed in, and left out of calls.
///
/// Options: `name`, `run_name`, `retries`, `retry_delays`, `retry_backoff`, `max_retry_delay`, `retry_jitter`,
/// `retry_if`, `retry_on`,
/// `never_retry_on`, `timeout`, `cancel_grace`, `max_crashes`, `tags`, `labels`, `inherit_labels`, `cache_key`, `cache_expires_after`,
/// `refresh_cache`,
/// `queue`, `priority`, `fairness_key`, `concurrency_limits`, `require_labels`, `sticky`, `detached`, `always_new`, `max_concurrency`,
/// `on_unawaited_failure`, `on_running`, `on_completion`, `on_failure`, `on_cancellation`. The README of `tidegate-sdk` tells what each
/// means.
#[proc_macro_attribute]
pub fn task(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::expand("Task", options.into(), function.into()).into()
}

/// Makes an async function a flow: work that starts other work. As [`macro@task`] but for its kind.
#[proc_macro_attribute]
pub fn flow(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::expand("Flow", options.into(), function.into()).into()
}

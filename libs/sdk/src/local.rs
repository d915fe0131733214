use std::{marker::PhantomData, sync::Arc};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use opentelemetry::trace::FutureExt as _;
use tidegate_sdk_core::{
    self as core, End, Error, ErrorKind, LocalRun, SlotOptions, Slots, Stop, StopSignal, Verdict, payload,
    proto::{self, Assign, Failure, NewRun, Payload, StateType},
    trace::Span,
};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Call, Client, Context, Function, RunFuture, Upstream,
    function::{parameters_of, write},
    handle::result_of,
    hooks::call,
    progress::{GivesUp, Progress},
    run_future::UpstreamFailed,
    supervise::{failure_text, plain_failure, supervise, value_of},
};

/// Completes when the code that made a call is stopped, or goes on without it. Each attempt asks anew.
type Caller = Shared<BoxFuture<'static, Stop>>;

/// Bytes of a payload of JSON beside its data, at most.
const METADATA_SIZE: usize = 64;

/// One call of a function that this process executes, as a run of its own.
pub(crate) struct LocalCall<F> {
    pub(crate) client: Client,
    pub(crate) run: NewRun,
    pub(crate) limits: Vec<String>,
    pub(crate) parent: Option<Context>,
    pub(crate) upstream: Vec<Upstream>,
    pub(crate) function: F,
}

/// Starts a call in the background of the current run.
pub(crate) fn submit<F: Function>(call: Call<F>) -> RunFuture<F::Output> {
    let (reply, result) = oneshot::channel();
    let progress = Arc::new(Progress::new(F::NAME));
    let abandon = CancellationToken::new();
    let future = RunFuture::new(result, Arc::clone(&progress), abandon.clone());
    let begun = call.into_local().and_then(|call| {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            let message = format!("`{}` was called outside of a Tokio runtime, which is to execute it", F::NAME);
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        };
        match &call.parent {
            Some(parent) if parent.children().is_closed() => {
                let message = format!(
                    "`{}` was called by code of run {}, which has ended: await what a run starts, or spawn it with \
                     `tidegate_sdk::spawn`",
                    F::NAME,
                    parent.run_id()
                );
                Err(Error::new(ErrorKind::FailedPrecondition, message))
            }
            _ => Ok((call, runtime)),
        }
    });
    match begun {
        Ok((call, runtime)) => {
            let parent = call.parent.clone();
            let of_parent = parent.clone();
            let gives_up = GivesUp(Arc::clone(&progress));
            let life = async move {
                let _gives_up = gives_up;
                let ended = call.live(&progress, abandon).await;
                let end = ended.as_ref().map(|_| ()).map_err(Clone::clone);
                let has_failed = end.is_err();
                progress.finish(end);
                if let Some(parent) = of_parent.filter(|_| has_failed) {
                    parent.children().note_failed(progress);
                }
                let _ = reply.send(ended); // whoever asked may have gone
            };
            match parent {
                Some(parent) => parent.children().start(life),
                None => drop(runtime.spawn(life)),
            }
        }
        Err(error) => {
            progress.finish(Err(error.clone()));
            let _ = reply.send(Err(error)); // the future is held here
        }
    }
    future
}

/// What another attempt of a run may need.
struct Life<'a, F> {
    client: Client,
    run: NewRun,
    /// The concurrency limits of which its code is to have a slot each.
    limits: Vec<String>,
    parent: Option<&'a Context>,
    function: PhantomData<fn() -> F>,
}

impl<F: Function> LocalCall<F> {
    /// The run from its creation to its end, also where another attempt of the parent has had it before.
    async fn live(self, progress: &Progress, abandon: CancellationToken) -> Result<F::Output, Error> {
        let Self { client, mut run, limits, parent, upstream, function } = self;
        let caller = stop_of_caller(parent.clone(), abandon).boxed().shared();
        let parent = parent.as_ref();
        let upstream_ended = async {
            for upstream in upstream {
                upstream.completed().await?;
            }
            Ok::<(), UpstreamFailed>(())
        };
        tokio::select! {
            ended = upstream_ended => if let Err(failed) = ended {
                run.child_call = 0; // a later attempt may find that all is well
                return upstream_failed::<F>(&client, run, progress, failed).await;
            },
            _ = caller.clone() => return Err(never_started::<F>()),
        }
        let (local, found) = tokio::select! {
            found = find_or_create(&client, &mut run) => found?,
            _ = caller.clone() => return Err(never_started::<F>()), // what is created is ended by the core
        };
        progress.set_run_id(local.id());
        if let Some(found) = found {
            return result_of(&found);
        }
        let permit = match parent {
            Some(parent) => tokio::select! {
                biased;
                _ = caller.clone() => None, // the run is there, and ends as one that its caller went on without
                permit = Arc::clone(parent.children().permits()).acquire_owned() => permit.ok(),
            },
            None => None,
        };
        let life = Life { client, run, limits, parent, function: PhantomData };
        let ended = life.execute(local, function, caller).await;
        drop(permit);
        ended
    }
}

/// The run, and how it ended where it was there before and has a result.
async fn find_or_create(
    client: &Client,
    run: &mut NewRun,
) -> Result<(LocalRun, Option<Arc<proto::Run>>), Error> {
    let core = client.core();
    let mut is_second_try = false;
    loop {
        let local = core.session().create(run.clone()).await?.await?;
        if !local.is_existing() {
            return Ok((local, None));
        }
        let found = core.wait(local.id()).await?;
        let is_kept = |result: &Payload| payload::encoding(result) != payload::NOT_KEPT;
        if run.idempotency_key.is_empty() && !found.result.as_ref().is_none_or(is_kept) {
            // Only its caller of then has got what it returned: this one needs another.
            run.id = core::new_run_id();
            run.child_call = 0;
            run.cache_key.clear();
            (run.cache_expires_after, run.refresh_cache) = (None, false);
            return Ok((core.session().create(run.clone()).await?.await?, None));
        }
        if is_second_try || Error::of_ended_run(&found).is_none() {
            return Ok((local, Some(found)));
        }
        // An earlier attempt still executed it, and has let go of it without a result: it is this one's now.
        is_second_try = true;
    }
}

async fn stop_of_caller(parent: Option<Context>, abandon: CancellationToken) -> Stop {
    let parent_stopped = async {
        match &parent {
            Some(parent) => parent.children().stopped().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        stop = parent_stopped => stop,
        () = abandon.cancelled() => Stop::Go,
    }
}

impl<F: Function> Life<'_, F> {
    async fn execute(self, mut local: LocalRun, function: F, caller: Caller) -> Result<F::Output, Error> {
        let mut signal = local.stop_signal();
        // The parameters as they were given are for the first attempt.
        let mut function = Some(function);
        let mut attempt = 0;
        // Some of its code was executed, by whichever attempt.
        let mut has_begun = false;
        loop {
            attempt += 1;
            // `None`: its caller is stopped, or went on without it.
            let slots = if self.limits.is_empty() {
                caller.clone().now_or_never().is_none().then_some(Ok(None))
            } else {
                tokio::select! {
                    biased;
                    () = stopped_between_attempts(&mut signal) => {
                        if !has_begun {
                            return Err(self.lost(&local).await);
                        }
                        let context = self.context(&local, attempt, self.run.traceparent.clone());
                        return Err(self.stopped(&local, &context).await);
                    }
                    _ = caller.clone() => None,
                    slots = Box::pin(self.slots(local.id())) => Some(slots.map(Some)),
                }
            };
            let span = Span::of_run(F::NAME, local.id(), attempt, &self.run.traceparent);
            let context = self.context(&local, attempt, span.traceparent());
            local.start().await;
            let mut code = JoinSet::new();
            let slots = match slots {
                Some(Ok(slots)) => {
                    has_begun = true;
                    let kept = self.run.parameters.clone();
                    code.spawn(
                        attempt_of(context.clone(), function.take(), kept).with_context(span.context()),
                    );
                    slots
                }
                Some(Err(failure)) => {
                    code.spawn(std::future::ready(Err(failure)));
                    None
                }
                None => {
                    code.spawn(std::future::pending()); // it is stopped at once, as code would be
                    None
                }
            };
            let ending = supervise(&mut code, &mut signal, &context, caller.clone()).await;
            let is_lost = slots.as_ref().is_some_and(Slots::is_lost);
            let (end, value) = match value_of(ending) {
                Ok(_) if is_lost => (Some(End::Failed(self.slots_lost())), None),
                Ok((value, result)) => (Some(End::Completed(Some(self.bounded(result)))), Some(value)),
                Err(end) => (end, None),
            };
            span.end(failure_text(&end).as_deref());
            let Some(end) = end else { return Err(self.lost(&local).await) };
            let failure = match &end {
                End::Failed(failure) => Some(failure.clone()),
                End::TimedOut => Some(self.timed_out()),
                _ => None,
            };
            let is_cancelled = end == End::Cancelled;
            let is_orphaned = matches!(end, End::Crashed(_));
            let release = async {
                if let Some(slots) = slots {
                    slots.release().await;
                }
            };
            let (outcome, ()) = tokio::join!(local.finish(end), release);
            if is_orphaned {
                // A crash may be forgiven, but whoever would want the next attempt is gone.
                let message =
                    format!("run {} ({}) was stopped with the run that called it", local.id(), F::NAME);
                return Err(Error::new(ErrorKind::RunCrashed, message));
            }
            if let Some(value) = value {
                // The end of a whole tree is durable before its caller goes on, as is what may serve the next call
                // and what a hook is told of.
                if self.parent.is_none() || !self.run.cache_key.is_empty() || F::HEARS_COMPLETION {
                    self.check(&local, outcome.verdict().await).await?;
                }
                call(&context, F::on_completion(&context, &value)).await;
                return Ok(value);
            }
            match outcome.verdict().await {
                Ok((Verdict::Retry(delay), epoch)) => {
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = stopped_between_attempts(&mut signal) => {
                            return Err(self.stopped(&local, &context).await);
                        }
                        _ = caller.clone() => return Err(never_started::<F>()),
                    }
                    local.begin_again(epoch);
                }
                Ok((Verdict::Ended(state), _)) => {
                    let state_type = state.r#type();
                    if state_type == StateType::Cancelled || is_cancelled {
                        if has_begun {
                            call(&context, F::on_cancellation(&context)).await;
                        }
                    } else if let Some(failure) = &failure {
                        call(&context, F::on_failure(&context, failure)).await;
                    }
                    return Err(error_of::<F>(local.id(), state, failure));
                }
                Err(_) => return Err(self.lost(&local).await),
            }
        }
    }

    fn context(&self, local: &LocalRun, attempt: u32, traceparent: String) -> Context {
        let id = || local.id().to_owned();
        let mut labels = self.run.labels.clone();
        if let Some(parent) = self.parent.filter(|_| self.run.inherit_labels) {
            for (key, value) in parent.labels() {
                labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        let assign = Assign {
            run_id: id(),
            epoch: local.epoch(),
            kind: self.run.kind,
            name: self.run.name.clone(),
            run_name: self.run.run_name.clone(),
            attempt,
            tags: self.run.tags.clone(),
            labels,
            parent_run_id: self.run.parent_run_id.clone(),
            root_run_id: self.parent.map_or_else(id, |parent| parent.root_run_id().to_owned()),
            ..Assign::default()
        };
        Context::new(self.client.clone(), assign, traceparent, local.pauser(), F::MAX_CONCURRENCY)
    }

    /// A result that is larger than the server takes is its caller's alone.
    fn bounded(&self, result: Payload) -> Payload {
        if result.data.len() + METADATA_SIZE <= self.client.core().max_payload_size() {
            return result;
        }
        let mut mark = payload::encoded(payload::NOT_KEPT, "");
        mark.metadata.insert("reason".to_owned(), "size".into());
        mark
    }

    /// A slot of each of the limits, for the run `run_id`. They are free again when this is dropped.
    async fn slots(&self, run_id: &str) -> Result<Slots, Failure> {
        let options = SlotOptions { run_id: run_id.to_owned(), ..SlotOptions::default() };
        let slots = self.client.acquire_slots(self.limits.clone(), options).await;
        slots.map_err(|error| {
            let message = format!("it has the concurrency limits {:?}: {error}", self.limits);
            Failure { non_retryable: true, ..plain_failure(&format!("{:?}", error.kind()), message) }
        })
    }

    fn slots_lost(&self) -> Failure {
        let message = format!(
            "the lease of its slots of the concurrency limits {:?} ended before its code did: no server heard of \
             this process for {:?}, and others may have had the slots meanwhile",
            self.limits,
            SlotOptions::default().lease
        );
        plain_failure("SlotsLost", message)
    }

    fn timed_out(&self) -> Failure {
        let limit = self.run.policies.as_ref().and_then(|policies| policies.run_timeout);
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        plain_failure("TimedOut", format!("it did not end within {limit}"))
    }

    /// A completed end that the server does not have as one.
    async fn check(&self, local: &LocalRun, verdict: Result<(Verdict, u64), Error>) -> Result<(), Error> {
        match verdict? {
            (Verdict::Ended(state), _) if state.r#type() != StateType::Completed => {
                Err(error_of::<F>(local.id(), state, None))
            }
            _ => Ok(()),
        }
    }

    /// What became of a run that was stopped between two attempts.
    async fn stopped(&self, local: &LocalRun, context: &Context) -> Error {
        let error = self.lost(local).await;
        if error.is_run_cancelled() {
            call(context, F::on_cancellation(context)).await;
        }
        error
    }

    /// What became of a run that is no longer this process's.
    async fn lost(&self, local: &LocalRun) -> Error {
        let ended = match self.client.core().peek_run(local.id()).await {
            Ok(run) => {
                Error::of_ended_run(&run).filter(|error| error.is_run_cancelled() || error.is_run_failed())
            }
            Err(error) => return error,
        };
        ended.unwrap_or_else(|| {
            let message = format!("run {} ({}) is no longer of this process", local.id(), F::NAME);
            Error::new(ErrorKind::RunCrashed, message)
        })
    }
}

/// The code of an attempt, with its parameters where it is the first, and what is kept of its value: all that is the
/// user's, so that a panic in it is a failure of the run.
async fn attempt_of<F: Function>(
    context: Context,
    function: Option<F>,
    kept: Option<Payload>,
) -> Result<(F::Output, Payload), Failure> {
    let kept =
        || parameters_of(kept.as_ref()).map_err(|error| plain_failure("PayloadError", error.to_string()));
    let function = function.map_or_else(kept, Ok)?;
    let value = context.execute(function).await?;
    let result = write(&value)?;
    Ok((value, result))
}

/// Waits for a stop of the run. The word to the attempt before may be heard late.
async fn stopped_between_attempts(signal: &mut StopSignal) {
    while matches!(signal.next().await, Stop::Go | Stop::TimedOut) {}
}

fn error_of<F: Function>(run_id: &str, state: proto::State, failure: Option<Failure>) -> Error {
    let run = proto::Run {
        id: run_id.to_owned(),
        name: F::NAME.to_owned(),
        state: Some(state),
        failure,
        ..proto::Run::default()
    };
    Error::of_ended_run(&run).unwrap_or_else(|| {
        Error::new(ErrorKind::Internal, format!("run {run_id} completed without its code"))
    })
}

fn never_started<F: Function>() -> Error {
    let message = format!("`{}` was not executed: the code that called it was stopped before", F::NAME);
    Error::new(ErrorKind::RunCancelled, message)
}

/// Records a run that is not executed, since what it needs has failed.
async fn upstream_failed<F: Function>(
    client: &Client,
    mut run: NewRun,
    progress: &Progress,
    upstream: UpstreamFailed,
) -> Result<F::Output, Error> {
    let UpstreamFailed { run_id, error } = upstream;
    let which =
        run_id.as_ref().map_or_else(|| "one that was never created".to_owned(), |id| format!("run {id}"));
    let message = format!("not executed: it comes after {which}, which did not complete: {error}");
    let failure = Failure { non_retryable: true, ..plain_failure("UpstreamFailed", message) };
    // The result of another run would make it one that has completed, and the run of its key may be under way elsewhere.
    run.cache_key.clear();
    run.idempotency_key.clear();
    (run.cache_expires_after, run.refresh_cache) = (None, false);
    let mut local = client.core().session().create(run).await?.await?;
    progress.set_run_id(local.id());
    let end = match run_id {
        Some(run_id) => End::UpstreamFailed { run_id, cause: cause_of(&error) },
        None => {
            local.start().await; // only what has started can fail by itself
            End::Failed(failure.clone())
        }
    };
    let (verdict, _) = local.finish(end).await.verdict().await?;
    let state = match verdict {
        Verdict::Ended(state) => state,
        Verdict::Retry(_) => proto::State { r#type: StateType::Failed.into(), ..proto::State::default() },
    };
    Err(error_of::<F>(local.id(), state, Some(failure)))
}

/// How a run ended that did not complete, in one line.
fn cause_of(error: &Error) -> String {
    let told = match error.failure() {
        Some(failure) if !failure.error_type.is_empty() => {
            format!("{}: {}", failure.error_type, failure.message)
        }
        _ => error.message().to_owned(),
    };
    told.lines().next().unwrap_or_default().to_owned()
}

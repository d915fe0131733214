use std::{marker::PhantomData, sync::Arc};

use opentelemetry::trace::FutureExt as _;
use serde::Serialize;
use tidegate_sdk_core::{
    End, Error, ErrorKind, LocalRun, Stop, StopSignal, Verdict,
    proto::{self, Assign, Failure, NewRun, StateType},
    trace::Span,
};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Call, Client, Context, Function, RunFuture, Upstream,
    function::{parameters_of, write},
    handle::result_of,
    hooks::call,
    progress::Progress,
    run_future::UpstreamFailed,
    supervise::{Ending, plain_failure, supervise},
};

/// One call of a function that this process executes, as a run of its own.
pub(crate) struct LocalCall<F> {
    pub(crate) client: Client,
    pub(crate) run: NewRun,
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
            let life = async move {
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
    parent: Option<&'a Context>,
    function: PhantomData<fn() -> F>,
}

impl<F: Function> LocalCall<F> {
    /// The run from its creation to its end, also where another attempt of the parent has had it before.
    async fn live(self, progress: &Progress, abandon: CancellationToken) -> Result<F::Output, Error> {
        let Self { client, mut run, parent, upstream, function } = self;
        let parent = parent.as_ref();
        let mut caller = std::pin::pin!(stop_of_caller(parent, abandon));
        let upstream_ended = async {
            for upstream in upstream {
                upstream.completed().await?;
            }
            Ok::<(), UpstreamFailed>(())
        };
        tokio::select! {
            ended = upstream_ended => if let Err(failed) = ended {
                run.child_call = 0; // a later attempt may find that all is well
                return upstream_failed::<F>(&client, run, progress, failed.run_id, &failed.error).await;
            },
            _ = &mut caller => return Err(never_started::<F>()),
        }
        let (local, found) = tokio::select! {
            found = find_or_create(&client, &run) => found?,
            _ = &mut caller => return Err(never_started::<F>()), // what is created is ended by the core
        };
        progress.set_run_id(local.id());
        if let Some(found) = found {
            return result_of(&found);
        }
        let permit = match parent {
            Some(parent) => tokio::select! {
                permit = Arc::clone(parent.children().permits()).acquire_owned() => permit.ok(),
                _ = &mut caller => return Err(never_started::<F>()),
            },
            None => None,
        };
        let life = Life { client, run, parent, function: PhantomData };
        let ended = life.execute(local, function, caller).await;
        drop(permit);
        ended
    }
}

/// The run, and how it ended where it was there before and has a result.
async fn find_or_create(client: &Client, run: &NewRun) -> Result<(LocalRun, Option<Arc<proto::Run>>), Error> {
    let core = client.core();
    let mut is_second_try = false;
    loop {
        let local = core.session().create(run.clone()).await?.await?;
        if !local.is_existing() {
            return Ok((local, None));
        }
        let found = core.wait(local.id()).await?;
        if is_second_try || Error::of_ended_run(&found).is_none() {
            return Ok((local, Some(found)));
        }
        // An earlier attempt still executed it, and has let go of it without a result: it is this one's now.
        is_second_try = true;
    }
}

/// Completes when the code that made the call is stopped, or goes on without it.
async fn stop_of_caller(parent: Option<&Context>, abandon: CancellationToken) -> Stop {
    let parent_stopped = async {
        match parent {
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
    async fn execute(
        self,
        mut local: LocalRun,
        function: F,
        mut caller: impl Future<Output = Stop> + Unpin,
    ) -> Result<F::Output, Error> {
        let mut signal = local.stop_signal();
        // The parameters as they were given are for the first attempt.
        let mut function = Some(function);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let span = Span::of_run(F::NAME, local.id(), attempt, &self.run.traceparent);
            let context = self.context(&local, attempt, span.traceparent());
            local.start().await;
            let ending = match function.take().map_or_else(|| self.kept_parameters(), Ok) {
                Ok(function) => {
                    let mut code = JoinSet::new();
                    code.spawn(context.clone().execute(function).with_context(span.context()));
                    supervise(&mut code, &mut signal, &context, &mut caller).await
                }
                Err(failure) => Ending::Code(Err(failure)),
            };
            let (end, value) = end_of(ending);
            span.end(failure_text(&end).as_deref());
            let Some(end) = end else { return Err(self.lost(&local).await) };
            let failure = match &end {
                End::Failed(failure) => Some(failure.clone()),
                End::TimedOut => Some(self.timed_out()),
                _ => None,
            };
            let is_cancelled = end == End::Cancelled;
            let is_orphaned = matches!(end, End::Crashed(_));
            let outcome = local.finish(end).await;
            if is_orphaned {
                // A crash may be forgiven, but whoever would want the next attempt is gone.
                let message =
                    format!("run {} ({}) was stopped with the run that called it", local.id(), F::NAME);
                return Err(Error::new(ErrorKind::RunCrashed, message));
            }
            if let Some(value) = value {
                // The end of a whole tree is durable before its caller goes on.
                if self.parent.is_none() {
                    self.check(&local, outcome.verdict().await).await?;
                }
                call(&context, F::on_completion(&context, &value)).await;
                return Ok(value);
            }
            match outcome.verdict().await {
                Ok((Verdict::Retry(delay), epoch)) => {
                    if let Some(error) = self.stopped_meanwhile(&local, delay, &mut signal, &mut caller).await
                    {
                        return Err(error);
                    }
                    local.begin_again(epoch);
                }
                Ok((Verdict::Ended(state), _)) => {
                    let state_type = state.r#type();
                    if state_type == StateType::Cancelled || is_cancelled {
                        call(&context, F::on_cancellation(&context)).await;
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

    fn kept_parameters(&self) -> Result<F, Failure> {
        parameters_of(self.run.parameters.as_ref())
            .map_err(|error| plain_failure("PayloadError", error.to_string()))
    }

    fn timed_out(&self) -> Failure {
        let limit = self.run.policies.as_ref().and_then(|policies| policies.run_timeout);
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        plain_failure("TimedOut", format!("it did not end within {limit}"))
    }

    /// Waits for the next attempt; the error where there is to be none.
    async fn stopped_meanwhile(
        &self,
        local: &LocalRun,
        delay: std::time::Duration,
        signal: &mut StopSignal,
        caller: &mut (impl Future<Output = Stop> + Unpin),
    ) -> Option<Error> {
        let stopped = async {
            loop {
                match signal.next().await {
                    Stop::Go | Stop::TimedOut => {} // the word of the attempt before
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => None,
            () = stopped => Some(self.lost(local).await),
            _ = caller => Some(never_started::<F>()),
        }
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

/// The value of code that returned one, or else what to report; nothing of a run that is no longer ours.
pub(crate) fn value_of<T>(ending: Ending<T>) -> Result<T, Option<End>> {
    Err(Some(match ending {
        Ending::Code(Ok(value)) => return Ok(value),
        Ending::Code(Err(failure)) => End::Failed(failure),
        Ending::Stopped(Stop::TimedOut) => End::TimedOut,
        Ending::Stopped(Stop::Cancel { .. } | Stop::Go) => End::Cancelled,
        Ending::Stopped(Stop::Shutdown) => {
            End::Crashed("shutdown: the worker ended before the run did".into())
        }
        Ending::Stopped(Stop::Lost { .. }) => return Err(None),
        Ending::Orphaned(Stop::Go) => {
            let message = "the code that called it went on without its result".to_owned();
            End::Failed(Failure { non_retryable: true, ..plain_failure("Dropped", message) })
        }
        Ending::Orphaned(_) => End::Crashed("the run that called it was stopped".into()),
    }))
}

/// What to report, and the value of code that returned one.
fn end_of<T: Serialize>(ending: Ending<T>) -> (Option<End>, Option<T>) {
    match value_of(ending) {
        Ok(value) => match write(&value) {
            Ok(result) => (Some(End::Completed(Some(result))), Some(value)),
            Err(failure) => (Some(End::Failed(failure)), None),
        },
        Err(end) => (end, None),
    }
}

pub(crate) fn failure_text(end: &Option<End>) -> Option<String> {
    match end {
        Some(End::Failed(failure)) => Some(format!("{}: {}", failure.error_type, failure.message)),
        Some(End::TimedOut) => Some("timed out".into()),
        Some(End::Cancelled) => Some("cancelled".into()),
        Some(End::Crashed(cause)) => Some(cause.clone()),
        Some(End::Completed(_) | End::Released) => None,
        None => Some("the run was taken away from this process".into()),
    }
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
    run: NewRun,
    progress: &Progress,
    upstream_id: String,
    error: &Error,
) -> Result<F::Output, Error> {
    let message = format!("not executed: it comes after run {upstream_id}, which did not complete: {error}");
    let failure = Failure { non_retryable: true, ..plain_failure("UpstreamFailed", message) };
    let mut local = client.core().session().create(run).await?.await?;
    progress.set_run_id(local.id());
    local.start().await;
    let (verdict, _) = local.finish(End::Failed(failure.clone())).await.verdict().await?;
    let state = match verdict {
        Verdict::Ended(state) => state,
        Verdict::Retry(_) => proto::State { r#type: StateType::Failed.into(), ..proto::State::default() },
    };
    Err(error_of::<F>(local.id(), state, Some(failure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_dropped_is_no_crash_and_that_of_a_stopped_caller_is() {
        let dropped = value_of(Ending::<()>::Orphaned(Stop::Go));
        assert!(matches!(dropped, Err(Some(End::Failed(failure))) if failure.non_retryable));
        let stopped = value_of(Ending::<()>::Orphaned(Stop::TimedOut));
        assert!(matches!(stopped, Err(Some(End::Crashed(_)))));
        let lost = value_of(Ending::<()>::Stopped(Stop::Lost { message: String::new() }));
        assert_eq!(lost, Err(None));
    }
}

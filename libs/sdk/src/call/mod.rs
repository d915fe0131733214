//! Calls: what is said of a run before it is started, and how it is.

mod start;

use std::{
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use tidegate_sdk_core::{
    self as core, ChildCalls, Error,
    proto::{self, NewRun, ParentPolicy, Payload, RetryPolicy, RunKind, new_run},
};

pub use start::delay_all;

use crate::{Client, Upstream, context::client_of_hook};

/// A call of a flow or task, with its options.
///
/// One by its name ([`Client::task`], [`Context::task`]) is started by [`Call::delay`] with its parameters. One of a
/// function with
/// `#[task]` or `#[flow]` has them already: await it to execute it here, [`Call::submit`] it to do so in the background,
/// `.delay()` it to have a worker execute it. What is said of queues, times and workers holds for `.delay()` alone.
///
/// [`Context::task`]: crate::Context::task
#[derive(Clone)]
#[must_use = "nothing is started before it is awaited, submitted or delayed"]
pub struct Call<F = ByName> {
    client: Option<Client>,
    run: NewRun,
    queue: Option<String>,
    /// Of the attempt that makes the call.
    calls: Option<ChildCalls>,
    always_new: bool,
    upstream: Vec<Upstream>,
    function: F,
}

/// The parameters of a [`Call`] by name: they come with its start.
#[derive(Clone, Debug)]
pub struct ByName(());

/// A [`Call`] whose parameters are still to come.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Template<F>(PhantomData<fn() -> F>);

impl Call {
    pub(crate) fn new(client: Client, kind: RunKind, name: String) -> Self {
        Self::of(Some(client), kind, name, ByName(()))
    }
}

impl<F> Call<F> {
    fn of(client: Option<Client>, kind: RunKind, name: String, function: F) -> Self {
        let run = NewRun { kind: kind.into(), name, ..Default::default() };
        let upstream = Vec::new();
        Self { client, run, queue: None, calls: None, always_new: false, upstream, function }
    }

    pub(crate) fn below(mut self, calls: ChildCalls, traceparent: String) -> Self {
        self.run.traceparent = traceparent;
        self.calls = Some(calls);
        self
    }

    /// Makes it through this client, as a run of its own, also inside of another run. Default: that of the current
    /// run, or of the one whose hook makes the call; outside of any, [`Client::shared`].
    pub fn with_client(mut self, client: &Client) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// It starts once `upstream`, a [`RunFuture`] or [`RunHandle`], has ended. Where that has failed, it is not executed,
    /// and recorded as FAILED in the state `UpstreamFailed`, which names that run. Its error
    /// [is so as well](crate::Error::is_upstream_failed).
    ///
    /// [`RunFuture`]: crate::RunFuture
    pub fn wait_for(mut self, upstream: impl Into<Upstream>) -> Self {
        self.upstream.push(upstream.into());
        self
    }

    /// As [`Call::wait_for`], for each of them.
    pub fn wait_for_all<U: Into<Upstream>>(mut self, upstream: impl IntoIterator<Item = U>) -> Self {
        self.upstream.extend(upstream.into_iter().map(Into::into));
        self
    }

    fn policies(&mut self) -> &mut proto::Policies {
        self.run.policies.get_or_insert_default()
    }

    fn retry(&mut self) -> &mut RetryPolicy {
        self.policies().retry.get_or_insert_default()
    }

    /// The queue that delivers it. Default: that of its deployment, or `default`.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Larger is served first within the queue. -100 to 100. Default: that of its deployment, or 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.run.priority = Some(priority);
        self
    }

    /// The concurrency limits of which it needs a slot and a token each to start. One that is not defined does not bind.
    ///
    /// What is executed here waits for them, in one line with queued runs and [`Context::acquire_slots`], and has them while
    /// its code runs: its run timeout counts from then, and between attempts they are free. It always waits, whatever the
    /// limit says of collisions. A call that needs a slot which only its caller has waits for ever.
    ///
    /// [`Context::acquire_slots`]: crate::Context::acquire_slots
    pub fn concurrency_limits<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.run.concurrency_limits = names.into_iter().map(Into::into).collect();
        self
    }

    /// With whom it takes turns in its queue: runs of the same priority are served by key in turn, however many each
    /// has.
    pub fn fairness_key(mut self, key: impl Into<String>) -> Self {
        self.run.fairness_key = key.into();
        self
    }

    /// The labels that a worker must have to get it. At most 8.
    pub fn require_labels<K: Into<String>, V: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.run.required_worker_labels =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// Inside a run, or with a parent: the worker that executes the parent gets it rather than others like it, if
    /// that has a free slot then. A hint, among workers of one replica of the task-queue with the same queues,
    /// functions and labels; any other worker that is free before gets it at once.
    pub fn sticky(mut self) -> Self {
        self.run.prefer_parent_worker = true;
        self
    }

    /// It starts not before then.
    pub fn due_at(mut self, time: SystemTime) -> Self {
        self.run.due_at = Some(core::timestamp_of(time));
        self
    }

    /// It starts not before this time has passed.
    pub fn due_in(self, delay: Duration) -> Self {
        self.due_at(core::wall_clock() + delay)
    }

    /// How many further attempts follow when the code raises. Default: none.
    pub fn retries(mut self, n: u32) -> Self {
        self.retry().max_retries = n;
        self
    }

    /// The delays before the first, second, … retry; the last one repeats. Default: none.
    pub fn retry_delays(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.retry().delays = delays.into_iter().map(wire_duration).collect();
        self
    }

    /// After the last delay that was given, each is so many times the one before. Default: 1.
    pub fn retry_backoff(mut self, factor: f64) -> Self {
        self.retry().backoff_factor = factor;
        self
    }

    /// No delay is longer. Default: no bound.
    pub fn max_retry_delay(mut self, delay: Duration) -> Self {
        self.retry().max_delay = Some(wire_duration(delay));
        self
    }

    /// Each delay is drawn evenly from `delay × (1 ± factor)`. 0 to 1; default 0.
    pub fn retry_jitter(mut self, factor: f64) -> Self {
        self.retry().jitter_factor = factor;
        self
    }

    /// All about retries at once.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.policies().retry = Some(policy);
        self
    }

    /// How often it is delivered again when its worker dies. Default: 3.
    pub fn max_crashes(mut self, n: u32) -> Self {
        self.policies().crash.get_or_insert_default().max_crashes = Some(n);
        self
    }

    /// How long one attempt may take. Default: no bound.
    pub fn run_timeout(mut self, limit: Duration) -> Self {
        self.policies().run_timeout = Some(wire_duration(limit));
        self
    }

    /// How long the code has to end after a cancel. Default: 30 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.policies().cancel_grace = Some(wire_duration(grace));
        self
    }

    /// Only errors of these types are retried, by their full name as the run shows it; a run timeout is of the type
    /// `TimedOut`. Default: all.
    pub fn retry_on<S: Into<String>>(mut self, error_types: impl IntoIterator<Item = S>) -> Self {
        self.retry().retry_on = error_types.into_iter().map(Into::into).collect();
        self
    }

    /// Errors of these types are not retried, also where [`Call::retry_on`] has them.
    pub fn never_retry_on<S: Into<String>>(mut self, error_types: impl IntoIterator<Item = S>) -> Self {
        self.retry().never_retry_on = error_types.into_iter().map(Into::into).collect();
        self
    }

    /// It is CANCELLED as `Expired` unless it has started by then.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.run.expires_at = Some(core::timestamp_of(time));
        self
    }

    /// It is CANCELLED as `Expired` unless it has started before this time has passed.
    pub fn expires_in(self, delay: Duration) -> Self {
        self.expires_at(core::wall_clock() + delay)
    }

    /// A run with the same key that has COMPLETED gives its result to this one, which is then not executed.
    pub fn cache_key(mut self, key: impl Into<String>) -> Self {
        self.run.cache_key = key.into();
        self
    }

    /// How long after its completion the result may serve other runs; needs [`Call::cache_key`]. 1 s to 365 days;
    /// default 365 days.
    pub fn cache_expires_after(mut self, age: Duration) -> Self {
        self.run.cache_expires_after = Some(wire_duration(age));
        self
    }

    /// It is executed, whatever there is for its [`Call::cache_key`]; its own result serves from then on.
    pub fn refresh_cache(mut self) -> Self {
        self.run.refresh_cache = true;
        self
    }

    /// Keys and values to find it by.
    pub fn labels<K: Into<String>, V: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.run.labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// It also has the labels of its parent; where both have a key, its own value stands.
    pub fn inherit_labels(mut self) -> Self {
        self.run.inherit_labels = true;
        self
    }

    /// The deployment that it is started through: `flow/deployment`. See [`Client::deployment`].
    pub fn deployment(mut self, name: impl Into<String>) -> Self {
        self.run.deployment = name.into();
        self
    }

    /// Job variables over those of the deployment, which has a work pool. One that is an object, such as `env`, goes over that of
    /// before key by key; a key that is null is taken away.
    ///
    /// # Errors
    /// They are no object.
    pub fn job_variables<V: serde::Serialize + ?Sized>(mut self, variables: &V) -> Result<Self, Error> {
        self.run.job_variables = crate::schedule::object("job_variables", variables)?;
        Ok(self)
    }

    /// Words to find it by.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.run.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// One key, one run: a second call with it gives the run of the first.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.run.idempotency_key = key.into();
        self
    }

    /// With a used key and other parameters: take the run that is there instead of an error.
    pub fn use_existing(mut self, yes: bool) -> Self {
        self.run.use_existing = yes;
        self
    }

    /// What people call this run.
    pub fn run_name(mut self, name: impl Into<String>) -> Self {
        self.run.run_name = name.into();
        self
    }

    /// The run that it belongs to. A call made through a [`crate::Context`] belongs to that run already.
    pub fn parent(mut self, run_id: impl Into<String>) -> Self {
        self.run.parent_run_id = run_id.into();
        self.calls = None;
        self
    }

    /// A later attempt of the run that makes this call starts another run, instead of finding this one and its
    /// result.
    pub fn always_new(mut self) -> Self {
        self.always_new = true;
        self
    }

    /// When delayed, it goes on, whatever becomes of its parent. What this process executes ends with its caller.
    pub fn detached(mut self) -> Self {
        self.policies().parent = ParentPolicy::Detach.into();
        self
    }

    /// What it does to it that its parent fails. Default: as when its parent is cancelled.
    pub fn on_parent_failure(mut self, policy: ParentPolicy) -> Self {
        self.policies().parent_on_failure = policy.into();
        self
    }

    /// What it does to it that its parent crashes for good. Default: as when its parent is cancelled.
    pub fn on_parent_crash(mut self, policy: ParentPolicy) -> Self {
        self.policies().parent_on_crash = policy.into();
        self
    }

    /// The run as it is created, but for its id, parameters and placement.
    fn child(&self, mut run: NewRun) -> NewRun {
        match &self.calls {
            Some(calls) if self.always_new => calls.adopt(&mut run),
            Some(calls) => calls.count(&mut run),
            None => {}
        }
        run
    }

    fn queued(&self, parameters: Payload) -> NewRun {
        // A deployment has a queue of its own.
        let default = || self.run.deployment.is_empty().then(|| "default".to_owned());
        let placement = self.queue.clone().or_else(default).map(new_run::Placement::Queue);
        let (id, parameters) = (core::new_run_id(), Some(parameters));
        self.child(NewRun { id, placement, parameters, ..self.run.clone() })
    }

    fn client(&self) -> Result<Client, Error> {
        self.client.clone().or_else(client_of_hook).map_or_else(Client::shared, Ok)
    }

    /// Waits for what it is to come after. Takes nothing else along, so that parameters need not be shared between threads.
    fn upstream_ended(self) -> impl Future<Output = Result<(), Error>> + Send {
        let upstreams = self.upstream;
        async move {
            for upstream in &upstreams {
                upstream.completed().await.map_err(|failed| failed.error)?;
            }
            Ok(())
        }
    }
}

impl<F> std::fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("name", &self.run.name)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// `duration` as it travels; the server refuses what is out of its bounds.
fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_core::payload::null;

    use super::*;

    fn call() -> Call {
        Client::connect("http://127.0.0.1:1", "").unwrap().task("count")
    }

    #[test]
    fn calls_of_an_attempt_are_numbered_unless_they_are_always_new() {
        let calls = ChildCalls::new("p", 3);
        let child = |call: Call| {
            let run = call.below(calls.clone(), String::new()).queued(null());
            (run.parent_run_id, run.parent_epoch, run.child_call)
        };
        assert_eq!(child(call()), ("p".to_owned(), 3, 1));
        assert_eq!(child(call().always_new()), ("p".to_owned(), 3, 0));
        assert_eq!(child(call()), ("p".to_owned(), 3, 2));
    }

    #[test]
    fn job_variables_are_an_object() {
        let env = serde_json::json!({ "env": { "REGION": "eu" } });
        let run = call().job_variables(&env).unwrap().queued(null());
        assert_eq!(run.job_variables, r#"{"env":{"REGION":"eu"}}"#);
        let wrong = call().job_variables(&[1]).expect_err("is a list").to_string();
        assert!(wrong.contains("`job_variables` are no JSON object"), "{wrong}");
    }

    #[test]
    fn a_key_of_the_caller_is_kept() {
        let call = call().idempotency_key("mine").below(ChildCalls::new("p", 3), String::new());
        let run = call.queued(null());
        assert_eq!((run.idempotency_key.as_str(), run.use_existing, run.child_call), ("mine", false, 0));
    }

    #[test]
    fn a_call_below_another_parent_is_none_of_the_attempt() {
        let run = call().below(ChildCalls::new("p", 3), String::new()).parent("q").queued(null());
        assert_eq!((run.parent_run_id.as_str(), run.parent_epoch, run.child_call), ("q", 0, 0));
    }

    #[test]
    fn a_deployment_has_a_queue_of_its_own() {
        let client = Client::connect("http://127.0.0.1:1", "").unwrap();
        let placement = |call: Call| call.queued(null()).placement;
        let queue = |name: &str| Some(new_run::Placement::Queue(name.to_owned()));
        assert_eq!(placement(client.deployment("count/nightly")), None);
        assert_eq!(placement(client.deployment("count/nightly").queue("small")), queue("small"));
        assert_eq!(placement(client.flow("count")), queue("default"));
    }

    #[test]
    fn options_reach_the_run() {
        let call = call().retries(3).retry_delays([Duration::from_millis(1_500)]).max_crashes(0).detached();
        let policies = call.queued(null()).policies.unwrap();
        let retry = policies.retry.unwrap();
        assert_eq!(retry.max_retries, 3);
        assert_eq!(retry.delays, [prost_types::Duration { seconds: 1, nanos: 500_000_000 }]);
        assert_eq!(policies.crash.unwrap().max_crashes, Some(0));
        assert_eq!(policies.parent, i32::from(ParentPolicy::Detach));
    }

    #[test]
    fn all_that_a_run_can_be_told_can_be_said() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let call = call()
            .labels([("team", "blue")])
            .inherit_labels()
            .cache_key("k")
            .cache_expires_after(Duration::from_secs(60))
            .expires_at(at)
            .deployment("count/nightly")
            .retries(1)
            .retry_on(["io"])
            .never_retry_on(["TimedOut"])
            .on_parent_failure(ParentPolicy::Detach)
            .on_parent_crash(ParentPolicy::Cancel)
            .fairness_key("customer-7")
            .require_labels([("gpu", "true")])
            .sticky();
        let run = call.queued(null());
        let policies = run.policies.unwrap();
        let retry = RetryPolicy {
            max_retries: 1,
            retry_on: vec!["io".into()],
            never_retry_on: vec!["TimedOut".into()],
            ..Default::default()
        };
        assert_eq!(policies.retry, Some(retry));
        assert_eq!(policies.parent_on_failure(), ParentPolicy::Detach);
        assert_eq!(policies.parent_on_crash(), ParentPolicy::Cancel);
        assert_eq!(run.labels, [("team".to_owned(), "blue".to_owned())].into());
        assert_eq!((run.inherit_labels, run.cache_key.as_str()), (true, "k"));
        assert_eq!(run.cache_expires_after, Some(prost_types::Duration { seconds: 60, nanos: 0 }));
        assert_eq!(run.expires_at, Some(prost_types::Timestamp { seconds: 7, nanos: 0 }));
        assert_eq!(run.deployment, "count/nightly");
        assert_eq!((run.fairness_key.as_str(), run.prefer_parent_worker), ("customer-7", true));
        assert_eq!(run.required_worker_labels, [("gpu".to_owned(), "true".to_owned())].into());
    }
}

//! Carries out what automations are to do. A firing is taken for a minute and carried out without a transaction; then what
//! has become of it is kept. One whose process went away meanwhile is taken again by whoever comes next: each is carried out
//! at least once, and as good as always no more than that.

mod body;
mod outcome;
mod places;
mod webhook;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tidegate_engine::{Engine, EngineError, TakenFiring, TakenFirings};
use tidegate_service_kit::{CancellationToken, Supervisor, pulse};
use tidegate_store::{Firing, FiringKey, FiringOutcome, FiringQuery};
use tidegate_webhook::{Client, Failure};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

use crate::{LONG_TURN, metrics};
use outcome::outcome_of;
use places::{Places, Room};

/// The name of the loop.
const NAME: &str = "automations";
/// How long a firing is ours: longer than any webhook may take, and than its outcome takes to be kept.
const LEASE: Duration = Duration::from_secs(60);
/// The least time between two looks for firings. Commits wake the loop, so that the first try comes at once: a look is one
/// statement that goes through the automations there are, and ten of them a second are nothing beside the commits that
/// had each of them come.
const PAUSE: Duration = Duration::from_millis(100);
/// Of how many firings the filters are asked at once: many more than there are places, since most may not match.
const FILTERED_AT_ONCE: usize = 1_000;
/// A web server that takes longer gets few places, as one that fails does: else a few such had all of them.
const SLOW: Duration = Duration::from_secs(5);
/// How long a stop waits for firings that are just being taken: cut off, they would have to wait for the end of the lease.
const LAST_TAKE: Duration = Duration::from_secs(2);

/// Carries out firings until the process stops, those that are due now as soon as they are committed, others within `poll`.
/// What is under way then has most of the shutdown grace to end; the rest is carried out again after its lease.
pub fn spawn(tasks: &Supervisor, engine: Engine, webhooks: Client, poll: Duration) {
    // What is left of it is for keeping the outcomes.
    let grace = tasks.grace() * 4 / 5;
    tasks.essential(NAME, move |stop| async move {
        let work = Work {
            engine,
            webhooks: Arc::new(webhooks),
            places: Places::default(),
            under_way: JoinSet::new(),
            firings: HashMap::new(),
            finished: Vec::new(),
        };
        work.run(&stop, poll, grace).await;
        Ok(())
    });
}

struct Work {
    engine: Engine,
    webhooks: Arc<Client>,
    places: Places,
    under_way: JoinSet<FiringOutcome>,
    /// What is under way, and since when.
    firings: HashMap<Id, (Firing, Instant)>,
    /// What is still to be kept.
    finished: Vec<(FiringKey, u32, FiringOutcome)>,
}

impl Work {
    async fn run(mut self, stop: &CancellationToken, poll: Duration, grace: Duration) {
        let mut commits = self.engine.store().commits();
        let mut looked_at = Instant::now();
        let mut look_at = looked_at;
        loop {
            pulse::rest(poll);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(joined) = self.under_way.join_next_with_id(), if !self.under_way.is_empty() => {
                    // What had no place may have one now.
                    if self.places.are_tight() {
                        look_at = Instant::now();
                    }
                    self.note(joined);
                    self.note_others();
                    self.keep().await;
                }
                Ok(()) = commits.changed(), if look_at > looked_at + PAUSE => look_at = looked_at + PAUSE,
                () = sleep_until(look_at) => {
                    // Seen before looking, so that a commit during the look has the next one come.
                    commits.mark_unchanged();
                    looked_at = Instant::now();
                    look_at = looked_at + poll;
                    pulse::rest(LONG_TURN);
                    if self.look(stop).await {
                        look_at = Instant::now();
                    }
                }
            }
        }
        self.drain(grace).await;
    }

    /// Asks filters, and takes firings as long as there are any and places for them. True: more filters are to be asked.
    async fn look(&mut self, stop: &CancellationToken) -> bool {
        self.places.forget_old(self.engine.clock().now());
        self.keep().await;
        // The store is away: what cannot be kept is not to become more.
        if !self.finished.is_empty() {
            return false;
        }
        let started = Instant::now();
        let mut n_taken = 0;
        let looked = async {
            // What cannot be filtered holds up none that is to be carried out. Broken off, it is done again by another.
            let filtered = stop.run_until_cancelled(self.engine.filter_firings(FILTERED_AT_ONCE)).await;
            self.take_all(&mut n_taken, stop).await?;
            Ok::<bool, EngineError>(filtered.transpose()? == Some(FILTERED_AT_ONCE))
        };
        let looked = looked.instrument(tracing::debug_span!("sweep", sweep.name = NAME)).await;
        ::metrics::histogram!(metrics::SWEEP_SECONDS, "sweep" => NAME).record(started.elapsed());
        ::metrics::counter!(metrics::SWEEP_ROWS, "sweep" => NAME).increment(n_taken as u64);
        looked.unwrap_or_else(|error| {
            failed(&error);
            false
        })
    }

    /// Adds to `n_taken` how many there were.
    async fn take_all(&mut self, n_taken: &mut usize, stop: &CancellationToken) -> Result<(), EngineError> {
        for room_of in [Places::for_well as fn(&Places) -> Option<Room>, Places::for_failing] {
            while !stop.is_cancelled()
                && let Some(room) = room_of(&self.places)
            {
                let TakenFirings { taken, any_due } = take(&self.engine, room, stop).await?;
                if !any_due {
                    break;
                }
                *n_taken += taken.len();
                for firing in taken {
                    self.begin(firing);
                }
                // What has ended meanwhile is not to be taken again.
                self.note_others();
                self.keep().await;
            }
        }
        Ok(())
    }

    fn begin(&mut self, taken: TakenFiring) {
        let firing = taken.firing.clone();
        let key = &firing.key.automation;
        self.places.begin(key);
        // It may be known for long, and to other replicas, that it fails.
        if !taken.automation.record.last_error.is_empty() {
            self.places.note(key, false, self.engine.clock().now());
        }
        let carried_out =
            webhook::carry_out(Arc::clone(&self.webhooks), Arc::clone(self.engine.clock()), taken);
        let id = self.under_way.spawn(carried_out).id();
        self.firings.insert(id, (firing, Instant::now()));
        self.gauge();
    }

    fn note(&mut self, joined: Result<(Id, FiringOutcome), JoinError>) {
        let now = self.engine.clock().now();
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some((firing, begun_at)) = self.firings.remove(&id) else { return };
        let outcome = joined.map_or_else(
            |error| {
                let key = &firing.key;
                tracing::error!(run.id = %key.run_id, "a firing of {} broke off: {error}", key.automation.name);
                let failure = Failure::Silent("the scheduler broke off; its log says why".to_owned());
                outcome_of(Err(failure), &firing, now, rand::random())
            },
            |(_, outcome)| outcome,
        );
        self.places.end(&firing.key.automation);
        let is_well = outcome == FiringOutcome::Succeeded && begun_at.elapsed() < SLOW;
        self.places.note(&firing.key.automation, is_well, now);
        self.gauge();
        count(&firing, &outcome);
        self.finished.push((firing.key, firing.n_tries, outcome));
    }

    /// All that has ended by now, so that it is kept in one transaction.
    fn note_others(&mut self) {
        while let Some(joined) = self.under_way.try_join_next_with_id() {
            self.note(joined);
        }
    }

    /// Keeps what has become of firings. What cannot be kept now is tried again with the next look.
    async fn keep(&mut self) {
        if self.finished.is_empty() {
            return;
        }
        pulse::beat();
        match self.engine.finish_firings(&self.finished).await {
            Ok(()) => self.finished.clear(),
            Err(error) => failed(&error),
        }
    }

    async fn drain(&mut self, grace: Duration) {
        pulse::rest(grace);
        let all = async {
            while let Some(joined) = self.under_way.join_next_with_id().await {
                self.note(joined);
                self.note_others();
                self.keep().await;
            }
        };
        if timeout(grace, all).await.is_err() {
            tracing::info!(
                "{} webhooks are given up at the stop, others try them again in {LEASE:?}",
                self.under_way.len()
            );
            self.under_way.abort_all();
        }
        self.keep().await;
    }

    fn gauge(&self) {
        ::metrics::gauge!(metrics::FIRINGS_UNDER_WAY).set(self.firings.len() as f64);
    }
}

/// At a stop those that are just being taken are waited for; then they are not looked for any more.
async fn take(engine: &Engine, room: Room, stop: &CancellationToken) -> Result<TakenFirings, EngineError> {
    let now = engine.clock().now();
    let Room { limit, limit_each, except } = room;
    let query = FiringQuery { now, until: now + LEASE, limit, limit_each, except };
    let too_late = async {
        stop.cancelled().await;
        sleep(LAST_TAKE).await;
    };
    tokio::select! {
        biased;
        taken = engine.take_firings(&query) => taken,
        () = too_late => Ok(TakenFirings { taken: Vec::new(), any_due: false }),
    }
}

fn failed(error: &EngineError) {
    ::metrics::counter!(metrics::SWEEP_ERRORS, "sweep" => NAME).increment(1);
    tracing::warn!(sweep.name = NAME, %error, "sweep {NAME} failed, the next turn tries again");
}

fn count(firing: &Firing, outcome: &FiringOutcome) {
    let told = match outcome {
        FiringOutcome::Succeeded => "succeeded",
        FiringOutcome::Dropped => "dropped",
        FiringOutcome::Failed { .. } => "failed",
        FiringOutcome::GivenUp { .. } => {
            let FiringKey { automation, run_id, seq } = &firing.key;
            // Not why: that is for those who may see the automation, which has it.
            tracing::info!(
                namespace = %automation.namespace, automation.name = %automation.name, run.id = %run_id,
                "automation {} gives up what event {seq} of run {run_id} set off, after {} tries",
                automation.name, firing.n_tries
            );
            "given_up"
        }
    };
    ::metrics::counter!(metrics::FIRINGS, "outcome" => told).increment(1);
}

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tidegate_engine::Engine;
use tidegate_model::{Namespace, RunId, limits};
use tidegate_orchestration::Run;
use tidegate_proto::v1;
use tidegate_store::{EventRow, FeedCursor, Filter, StoreError};
use tidegate_wire::{invalid_field, namespace, to_status};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    convert::{event_to_proto, run_id, run_ids},
    queries::parse_filter,
    stream::{Pull, ResponseStream, pulled},
};

const PAGE_SIZE: usize = 500;
/// Runs whose events are looked up by their ids: each costs a look into the index at every commit of anybody.
const FEW_IDS: usize = 100;
/// The slow poll behind the wake-ups, which may be lost.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often a watch that is to end looks whether the runs that it waits for are still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Opens a `WatchRuns` stream.
pub(crate) async fn open(
    engine: &Engine,
    request: v1::WatchRunsRequest,
    stop: CancellationToken,
) -> Result<ResponseStream<v1::WatchRunsResponse>, Status> {
    let namespace = namespace(&request.namespace)?;
    let ids = run_ids("run_ids", &request.run_ids, limits::MAX_WATCHED_RUNS)?;
    let root = match request.root_run_id.as_str() {
        "" => None,
        text => Some(run_id("root_run_id", text)?),
    };
    if root.is_some() && !ids.is_empty() {
        return Err(invalid_field("root_run_id", "is set beside run_ids: choose one"));
    }
    let named: Vec<RunId> = if ids.is_empty() { root.into_iter().collect() } else { ids.clone() };
    if named.is_empty() && (request.from_start || request.until_ended) {
        let field = if request.from_start { "from_start" } else { "until_ended" };
        return Err(invalid_field(field, "needs run_ids or root_run_id"));
    }
    let filter = match request.filter.as_str() {
        "" => None,
        text => Some(parse_filter(text, engine.clock().now())?),
    };
    check_beginning(&request, ids.len())?;
    let commits = engine.store().commits();
    let is_resumed = !request.resume_token.is_empty();
    let cursor = if is_resumed {
        FeedCursor(request.resume_token.clone())
    } else {
        match root {
            Some(root) if request.from_start => engine.store().feed_start(root).await,
            _ => engine.store().feed_end().await,
        }
        .map_err(|error| to_status(&error))?
    };
    // After the cursor was taken, so that no end falls between.
    let runs = engine.get_all(&namespace, &named).await.map_err(|error| to_status(&error))?;
    if let (Some(root), [run]) = (root, runs.as_slice())
        && run.root != root
    {
        let message = format!("{root} is not the uppermost run of its tree; that is {}", run.root);
        return Err(invalid_field("root_run_id", message));
    }
    if let [run] = runs.as_slice()
        && request.after_seq > run.event_seq
    {
        let message =
            format!("is {}, but the latest event of {} is {}", request.after_seq, run.id, run.event_seq);
        return Err(invalid_field("after_seq", message));
    }
    // From the start, the end of each run comes as an event; else what has ended before is of no interest.
    let is_told = |run: &&Run| request.from_start || (1..run.event_seq).contains(&request.after_seq);
    let is_open = |run: &&Run| is_told(run) || !run.state.state_type().is_terminal();
    let open = runs.iter().filter(is_open).map(|run| run.id).collect();
    let state = Watch {
        engine: engine.clone(),
        namespace,
        // The past of single runs is read from their histories: the feed has everybody's events.
        histories: if request.from_start || request.after_seq > 0 { ids.clone() } else { Vec::new() },
        seen: ids.iter().filter(|_| request.after_seq > 0).map(|id| (*id, request.after_seq)).collect(),
        few_ids: if ids.len() <= FEW_IDS { ids.clone() } else { Vec::new() },
        ids: ids.into_iter().collect(),
        filter,
        root,
        cursor,
        commits,
        open,
        until_ended: request.until_ended,
        next_look: Instant::now() + LOOK_INTERVAL,
        has_caught_up: false,
    };
    Ok(pulled(state, stop))
}

/// A watch has one beginning.
fn check_beginning(request: &v1::WatchRunsRequest, n_ids: usize) -> Result<(), Status> {
    let is_resumed = !request.resume_token.is_empty();
    if is_resumed && request.from_start {
        return Err(invalid_field("from_start", "is set beside resume_token: choose one"));
    }
    if request.after_seq == 0 {
        return Ok(());
    }
    if is_resumed || request.from_start {
        return Err(invalid_field("after_seq", "is set beside resume_token or from_start: choose one"));
    }
    if n_ids != 1 {
        return Err(invalid_field("after_seq", "counts the events of one run: name it alone in run_ids"));
    }
    Ok(())
}

struct Watch {
    engine: Engine,
    namespace: Namespace,
    /// Runs whose past is still to be sent.
    histories: Vec<RunId>,
    ids: HashSet<RunId>,
    /// The same, where they are so few that their events are read one by one and not picked out of everybody's.
    few_ids: Vec<RunId>,
    root: Option<RunId>,
    filter: Option<Filter>,
    cursor: FeedCursor,
    commits: watch::Receiver<u64>,
    /// The last event that was sent of each run whose past was sent.
    seen: HashMap<RunId, u64>,
    /// Named runs that have not ended, as far as is known.
    open: HashSet<RunId>,
    until_ended: bool,
    next_look: Instant,
    /// True once all that was there at the opening has been read.
    has_caught_up: bool,
}

impl Pull<v1::WatchRunsResponse> for Watch {
    async fn pull(&mut self) -> Result<Option<v1::WatchRunsResponse>, Status> {
        loop {
            // The last of the past as well: the cursor is that of the opening, and what has happened since is in both.
            let is_past = !self.histories.is_empty();
            let events = if let Some(run) = self.histories.last().copied() {
                self.read_history(run).await?
            } else {
                if self.until_ended && self.has_caught_up && self.open.is_empty() {
                    return Ok(None);
                }
                self.read_feed().await?
            };
            let events = self.matching(events).await?;
            if !events.is_empty() {
                let events = events.iter().map(event_to_proto).collect();
                let resume_token = if is_past { String::new() } else { self.cursor.0.clone() };
                return Ok(Some(v1::WatchRunsResponse { events, resume_token }));
            }
        }
    }
}

impl Watch {
    async fn read_history(&mut self, run: RunId) -> Result<Vec<EventRow>, Status> {
        let after = self.seen.get(&run).copied().unwrap_or(0);
        let store = self.engine.store();
        let events = store
            .list_events(&self.namespace, run, after, PAGE_SIZE)
            .await
            .map_err(|error| to_status(&error))?;
        if events.len() < PAGE_SIZE {
            self.histories.pop();
        }
        for event in &events {
            self.note(event);
        }
        Ok(events)
    }

    /// The next events that are wanted; empty: look again. Waits where there is nothing new.
    async fn read_feed(&mut self) -> Result<Vec<EventRow>, Status> {
        self.commits.mark_unchanged();
        let store = self.engine.store();
        let page = if self.few_ids.is_empty() {
            store.read_feed(&self.cursor, self.root, PAGE_SIZE).await
        } else {
            store.read_feed_of_runs(&self.cursor, &self.few_ids, PAGE_SIZE).await
        };
        let page = page.map_err(|error| match error {
            StoreError::InvalidCursor(_) => invalid_field("resume_token", error.to_string()),
            other => to_status(&other),
        })?;
        let is_end = page.len() < PAGE_SIZE;
        let mut wanted = Vec::new();
        for event in page {
            self.cursor = event.cursor;
            let event = event.event;
            let is_wanted = event.namespace == self.namespace
                && (self.ids.is_empty() || self.ids.contains(&event.run_id))
                && self.seen.get(&event.run_id).is_none_or(|seen| event.seq > *seen);
            if is_wanted {
                self.note(&event);
                wanted.push(event);
            }
        }
        if is_end {
            let is_over = self.until_ended && self.open.is_empty();
            if wanted.is_empty() && self.has_caught_up && !is_over {
                let _ = timeout(POLL_INTERVAL, self.commits.changed()).await;
                self.forget_deleted().await?;
            }
            self.has_caught_up = true;
        }
        Ok(wanted)
    }

    /// Runs that were deleted before their last event was read end no more.
    async fn forget_deleted(&mut self) -> Result<(), Status> {
        if !self.until_ended || self.next_look > Instant::now() {
            return Ok(());
        }
        let ids: Vec<RunId> = self.open.iter().copied().collect();
        let store = self.engine.store();
        let runs = store.get_runs(Some(&self.namespace), &ids).await.map_err(|error| to_status(&error))?;
        self.open = runs.iter().map(|run| run.id).collect();
        self.next_look = Instant::now() + LOOK_INTERVAL;
        Ok(())
    }

    /// Those whose runs match the filter as they are now.
    async fn matching(&self, mut events: Vec<EventRow>) -> Result<Vec<EventRow>, Status> {
        let Some(filter) = self.filter.as_ref().filter(|_| !events.is_empty()) else { return Ok(events) };
        let ids: HashSet<RunId> = events.iter().map(|event| event.run_id).collect();
        let ids: Vec<RunId> = ids.into_iter().collect();
        let store = self.engine.store();
        let runs = store.get_runs(Some(&self.namespace), &ids).await.map_err(|error| to_status(&error))?;
        let matching: HashSet<RunId> =
            runs.iter().filter(|run| filter.matches(run)).map(|run| run.id).collect();
        events.retain(|event| matching.contains(&event.run_id));
        Ok(events)
    }

    fn note(&mut self, event: &EventRow) {
        if !self.ids.is_empty() {
            self.seen.insert(event.run_id, event.seq);
        }
        if event.ended {
            self.open.remove(&event.run_id);
        }
    }
}

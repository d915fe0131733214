//! Progress of artifacts on its way to the server: code may tell of each percent, and what is told while an earlier one
//! travels is told together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use crate::{
    Client,
    proto::{UpdateArtifactRequest, artifact_service_client::ArtifactServiceClient as Artifacts},
    retry::Backoff,
};

/// How long after one update of an artifact the next is sent.
const INTERVAL: Duration = Duration::from_millis(250);

/// What has become of something, for those who look at its artifact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The artifact.
    pub artifact_id: String,
    /// In percent, 0 to 100.
    pub percent: f64,
    /// What it is, for people; `None`: as it was.
    pub description: Option<String>,
    /// The run whose code tells it, which need not be that of the artifact; empty: none.
    pub run_id: String,
    /// The epoch under which the caller has that run; 0: anyone asks.
    pub epoch: u64,
}

/// Carries the progress of artifacts: the latest of each, a few times a second. The last always arrives, as far as the
/// process lives until then: see [`ProgressWriter::flush`]. Cheap to clone.
#[derive(Clone, Default)]
pub struct ProgressWriter {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By artifact: what is to be told next, where something is. One is there while its carrier is.
    next: Mutex<HashMap<String, Option<Progress>>>,
    /// How many are to be told, or are on their way.
    n_untold: watch::Sender<usize>,
    /// Somebody waits for all to be told.
    hurry: Notify,
}

impl Shared {
    fn next(&self) -> MutexGuard<'_, HashMap<String, Option<Progress>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressWriter {
    /// Notes how far something is. Never waits.
    pub(crate) fn write(&self, client: &Client, progress: Progress) {
        let id = progress.artifact_id.clone();
        let mut next = self.shared.next();
        let known = next.get_mut(&id);
        let is_carried = known.is_some();
        let before = known.and_then(Option::take);
        if before.is_none() {
            self.shared.n_untold.send_modify(|n| *n += 1);
        }
        // A description that was not told yet is told with it.
        let description =
            progress.description.clone().or_else(|| before.and_then(|before| before.description));
        next.insert(id.clone(), Some(Progress { description, ..progress }));
        drop(next);
        if !is_carried {
            client.runtime().spawn(carry(Arc::clone(&self.shared), client.clone(), id));
        }
    }

    /// Waits until all that was written so far is told. False: `deadline` passed first.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let mut n_untold = self.shared.n_untold.subscribe();
        self.shared.hurry.notify_waiters();
        matches!(timeout(deadline, n_untold.wait_for(|n| *n == 0)).await, Ok(Ok(_)))
    }
}

/// Tells of one artifact until nothing is left to be told for a while.
async fn carry(shared: Arc<Shared>, client: Client, id: String) {
    loop {
        let progress = {
            let mut next = shared.next();
            let Some(progress) = next.get_mut(&id).and_then(Option::take) else {
                next.remove(&id);
                return;
            };
            progress
        };
        tell(&client, &shared, progress).await;
        shared.n_untold.send_modify(|n| *n -= 1);
        tokio::select! {
            biased;
            () = shared.hurry.notified() => {}
            () = sleep(INTERVAL) => {}
        }
    }
}

/// For as long as it takes, unless something newer is to be told instead.
async fn tell(client: &Client, shared: &Shared, progress: Progress) {
    let mut backoff = Backoff::standard();
    let mut mask = vec!["progress".to_owned()];
    mask.extend(progress.description.as_ref().map(|_| "description".to_owned()));
    let request = UpdateArtifactRequest {
        namespace: client.options().namespace.clone(),
        id: progress.artifact_id.clone(),
        update_mask: Some(prost_types::FieldMask { paths: mask }),
        description: progress.description.clone().unwrap_or_default(),
        progress: progress.percent,
        run_id: progress.run_id.clone(),
        epoch: progress.epoch,
        ..UpdateArtifactRequest::default()
    };
    loop {
        let send = async |channel, request| Artifacts::new(channel).update_artifact(request).await;
        let Err(error) = client.ask(request.clone(), send).await else { return };
        if !error.is_retryable() {
            tracing::warn!("the progress of artifact {} is not kept: {error}", progress.artifact_id);
            return;
        }
        let is_overtaken = {
            let mut next = shared.next();
            let newer = next.get_mut(&progress.artifact_id).and_then(Option::as_mut);
            if let Some(newer) = newer {
                newer.description = newer.description.take().or_else(|| progress.description.clone());
                true
            } else {
                false
            }
        };
        if is_overtaken {
            return;
        }
        sleep(error.retry_after().unwrap_or_else(|| backoff.next())).await;
    }
}

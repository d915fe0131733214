//! What the cluster tells of the Jobs of this worker and of their pods: one watch of each in a namespace.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt as _;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{info, warn};

use super::{super::marks::SERVER, manifest::JOB, stage::Seen};

type Known = Arc<Mutex<HashMap<String, watch::Sender<Seen>>>>;

/// Follows the Jobs of this worker in a namespace.
pub(super) struct Watch {
    known: Known,
    _stop: DropGuard,
}

impl Watch {
    /// Those that `selector` selects in `namespace`, but for those that say that they are another server's than `server`.
    pub(super) fn start(client: &Client, namespace: &str, selector: &str, server: &str) -> Self {
        let (known, stop) = (Known::default(), CancellationToken::new());
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let config = watcher::Config::default().labels(selector);
        let of_jobs = follow(jobs, config.clone(), server.to_owned(), Arc::clone(&known));
        let of_pods = follow(pods, config, server.to_owned(), Arc::clone(&known));
        let stopped = stop.clone();
        let both = Box::pin(async { tokio::join!(of_jobs, of_pods) });
        TaskTracker::new().spawn(async move { stopped.run_until_cancelled(both).await });
        Self { known, _stop: stop.drop_guard() }
    }

    /// What is known of a Job, from now on.
    pub(super) fn of(&self, name: &str) -> watch::Receiver<Seen> {
        lock(&self.known).entry(name.to_owned()).or_default().subscribe()
    }

    /// Takes what was told in answer to a call.
    pub(super) fn note(&self, name: &str, change: impl FnOnce(&mut Seen)) {
        lock(&self.known).entry(name.to_owned()).or_default().send_modify(change);
    }
}

/// What is kept of an object.
trait Part: Sized {
    /// The Job that it is, or belongs to.
    fn job_name(&self) -> Option<String>;
    fn put(seen: &mut Seen, object: Self);
    fn put_gone(seen: &mut Seen);
    fn is_known(seen: &Seen) -> bool;
}

impl Part for Job {
    fn job_name(&self) -> Option<String> {
        self.metadata.name.clone()
    }

    fn put(seen: &mut Seen, object: Self) {
        seen.job = Some(object);
    }

    fn put_gone(seen: &mut Seen) {
        seen.is_job_gone = true;
    }

    fn is_known(seen: &Seen) -> bool {
        seen.job.is_some()
    }
}

impl Part for Pod {
    fn job_name(&self) -> Option<String> {
        self.metadata.labels.as_ref()?.get(JOB).cloned()
    }

    fn put(seen: &mut Seen, object: Self) {
        seen.pod = Some(object);
    }

    fn put_gone(seen: &mut Seen) {
        seen.is_pod_gone = true;
    }

    fn is_known(seen: &Seen) -> bool {
        seen.pod.is_some()
    }
}

/// Follows objects for ever. Where the watch breaks it goes on from there, or begins with a list: what was known then and
/// is not in it has gone.
async fn follow<K>(api: Api<K>, config: watcher::Config, server: String, known: Known)
where
    K: Resource + Part + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher::watcher(api, config).default_backoff());
    let mut missing = HashSet::new();
    let mut is_broken = false;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if !std::mem::replace(&mut is_broken, true) {
                    warn!("the cluster does not tell of jobs now, and is asked again: {error}");
                }
                continue;
            }
        };
        if std::mem::take(&mut is_broken) {
            info!("the cluster tells of jobs again");
        }
        if let Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) = &event
            && object.meta().labels.as_ref().and_then(|all| all.get(SERVER)).is_some_and(|of| *of != server)
        {
            continue;
        }
        let mut known = lock(&known);
        match event {
            Event::Init => {
                let before = known.iter().filter(|(_, seen)| K::is_known(&seen.borrow()));
                missing = before.map(|(name, _)| name.clone()).collect();
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let Some(name) = object.job_name() else { continue };
                missing.remove(&name);
                known.entry(name).or_default().send_modify(|seen| K::put(seen, object));
            }
            Event::Delete(object) => {
                let Some(name) = object.job_name() else { continue };
                let seen = known.entry(name).or_default();
                seen.send_modify(|seen| {
                    K::put(seen, object); // its last words
                    K::put_gone(seen);
                });
            }
            Event::InitDone => {
                for name in missing.drain() {
                    if let Some(seen) = known.get(&name) {
                        seen.send_modify(K::put_gone);
                    }
                }
            }
        }
        known.retain(|_, seen| seen.receiver_count() > 0 || !has_gone(&seen.borrow()));
    }
}

/// True where nothing will be told of it any more.
fn has_gone(seen: &Seen) -> bool {
    seen.is_job_gone && (seen.pod.is_none() || seen.is_pod_gone)
}

fn lock(known: &Known) -> MutexGuard<'_, HashMap<String, watch::Sender<Seen>>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

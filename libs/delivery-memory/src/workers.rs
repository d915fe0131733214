use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
};

use tidegate_delivery::{WorkerNews, WorkerQuery, WorkerTerms};
use tidegate_model::{Namespace, Timestamp, Worker, WorkerEnd, WorkerId, limits};
use tokio::time::Instant;

/// What was told of workers.
#[derive(Default)]
pub(crate) struct Workers {
    of: HashMap<Namespace, BTreeMap<WorkerId, Told>>,
    /// How often something was told.
    n_told: u64,
}

struct Told {
    worker: Worker,
    /// What the latest stream is called, and when it was opened.
    stream: String,
    opened_at: Timestamp,
    /// It is live until then, unless it has ended.
    live_until: Instant,
    kept_until: Instant,
    /// Grows with each time that it is told of.
    told: u64,
    is_asked_to_drain: bool,
}

impl Told {
    fn is_live(&self, now: Instant) -> bool {
        self.worker.end.is_none() && now <= self.live_until
    }

    fn counts(&self, news: &WorkerNews, now: Instant) -> bool {
        if self.stream == news.stream {
            return self.worker.end.is_none();
        }
        news.end.is_none() && (news.opened_at >= self.opened_at || now > self.live_until)
    }

    fn worker(&self, now: Instant) -> Worker {
        let mut worker = self.worker.clone();
        worker.end = worker.end.or((now > self.live_until).then_some(WorkerEnd::Lost));
        worker.load.is_draining |= self.is_asked_to_drain;
        worker
    }
}

impl Workers {
    /// Answers in order whether the worker was asked to drain.
    pub(crate) fn tell(&mut self, news: &[WorkerNews], terms: WorkerTerms) -> Vec<bool> {
        let now = Instant::now();
        let asked = news.iter().map(|news| self.tell_one(news, terms, now)).collect();
        // Of all namespaces: nobody may tell anything of some any more.
        self.of.retain(|_, of| {
            of.retain(|_, told| now <= told.kept_until);
            !of.is_empty()
        });
        for namespace in news.iter().map(|news| &news.namespace).collect::<HashSet<_>>() {
            let Some(of) = self.of.get_mut(namespace) else { continue };
            let n_too_many = of.len().saturating_sub(limits::MAX_TOLD_WORKERS);
            if n_too_many > 0 {
                let mut told: Vec<_> = of.values().map(|told| told.told).collect();
                told.sort_unstable();
                let first_kept = told[n_too_many];
                of.retain(|_, told| told.told >= first_kept);
            }
        }
        asked
    }

    fn tell_one(&mut self, news: &WorkerNews, terms: WorkerTerms, now: Instant) -> bool {
        self.n_told += 1;
        let of = self.of.entry(news.namespace.clone()).or_default();
        let known = of.get(&news.worker_id).filter(|known| now <= known.kept_until);
        let is_asked_to_drain = known.is_some_and(|known| known.is_asked_to_drain);
        if known.is_some_and(|known| !known.counts(news, now)) {
            return is_asked_to_drain;
        }
        let worker = Worker {
            id: news.worker_id.clone(),
            about: news.about.clone(),
            load: news.load,
            came_at: known.map_or(news.opened_at, |known| known.worker.came_at),
            end: news.end,
        };
        let told = Told {
            worker,
            stream: news.stream.clone(),
            opened_at: news.opened_at,
            live_until: now + terms.live_for,
            kept_until: now + terms.kept_for,
            told: self.n_told,
            is_asked_to_drain,
        };
        of.insert(news.worker_id.clone(), told);
        is_asked_to_drain
    }

    pub(crate) fn list(&self, query: WorkerQuery<'_>) -> Vec<Worker> {
        let now = Instant::now();
        let Some(of) = self.of.get(query.namespace) else { return Vec::new() };
        let from = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = of.range::<WorkerId, _>((from, Bound::Unbounded)).map(|(_, told)| told);
        known
            .filter(|told| now <= told.kept_until)
            .filter(|told| {
                query.work_pool.is_none_or(|pool| told.worker.about.work_pool.as_ref() == Some(pool))
            })
            .take(query.limit)
            .map(|told| told.worker(now))
            .collect()
    }

    /// False: no live worker has this id.
    pub(crate) fn drain(&mut self, namespace: &Namespace, worker_id: &WorkerId) -> bool {
        let now = Instant::now();
        let known = self.of.get_mut(namespace).and_then(|of| of.get_mut(worker_id));
        let Some(told) = known.filter(|told| told.is_live(now)) else { return false };
        told.is_asked_to_drain = true;
        true
    }
}

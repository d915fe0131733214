//! The register of workers: who is there, or was there a moment ago, by namespace.

use std::collections::HashMap;

use redis::Pipeline;
use tidegate_delivery::{DrainHint, Error, WorkerNews, WorkerQuery, WorkerTerms};
use tidegate_model::{Namespace, Timestamp, Worker, WorkerEnd, WorkerId, limits};

use crate::{
    answers::read_next,
    codec,
    delivery::{RedisDelivery, duration_millis},
};

/// How many workers one call of a script is told of, so that Redis is never busy for long.
const TOLD_PER_CALL: usize = 200;
/// How many workers are read in one round trip, at least.
const READ_AT_ONCE: usize = 100;

impl RedisDelivery {
    pub(crate) async fn tell(&self, news: &[WorkerNews], terms: WorkerTerms) -> Result<Vec<bool>, Error> {
        let mut of: HashMap<&Namespace, Vec<usize>> = HashMap::new();
        for (position, news) in news.iter().enumerate() {
            of.entry(&news.namespace).or_default().push(position);
        }
        let script = &self.scripts.tell_workers;
        let (mut pipeline, mut positions_of) = (Pipeline::new(), Vec::new());
        for (namespace, positions) in of {
            for positions in positions.chunks(TOLD_PER_CALL) {
                let mut call = script.prepare_invoke();
                call.key(self.keys.worker_ids(namespace)).key(self.keys.workers_told(namespace));
                call.arg(self.keys.workers_base(namespace));
                call.arg(duration_millis(terms.live_for)).arg(duration_millis(terms.kept_for));
                call.arg(limits::MAX_TOLD_WORKERS);
                for news in positions.iter().map(|position| &news[*position]) {
                    call.arg(news.worker_id.as_str()).arg(&news.stream).arg(news.opened_at.as_micros());
                    call.arg(end_word(news.end)).arg(codec::encode_facts(&news.about, &news.load));
                }
                pipeline.invoke_script(&call);
                positions_of.push(positions.to_vec());
            }
        }
        if positions_of.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<Vec<bool>> = self.connection.run("tell of workers", Some(script), &pipeline).await?;
        let mut asked = vec![false; news.len()];
        for (position, answer) in positions_of.into_iter().flatten().zip(answers.into_iter().flatten()) {
            asked[position] = answer;
        }
        Ok(asked)
    }

    pub(crate) async fn list(&self, query: WorkerQuery<'_>) -> Result<Vec<Worker>, Error> {
        let (ids, n_at_once) = (self.keys.worker_ids(query.namespace), query.limit.max(READ_AT_ONCE));
        let (mut found, mut after) = (Vec::new(), query.after.map(ToString::to_string));
        while found.len() < query.limit {
            let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
            let mut pipeline = Pipeline::new();
            pipeline.cmd("TIME");
            pipeline.zrangebylex_limit(&ids, from, "+", 0, n_at_once.cast_signed());
            let ((seconds, micros), names): ((i64, i64), Vec<String>) =
                self.connection.run("list workers", None, &pipeline).await?;
            let clock = seconds.saturating_mul(1_000) + micros / 1_000;
            let names: Vec<WorkerId> = names.iter().filter_map(|name| name.parse().ok()).collect();
            let Some(last) = names.last() else { break };
            let (last, is_last_page) = (last.to_string(), names.len() < n_at_once);
            let read = self.read_workers(query.namespace, names, clock).await?;
            found.extend(read.into_iter().filter(|worker| {
                query.work_pool.is_none_or(|pool| worker.about.work_pool.as_ref() == Some(pool))
            }));
            if is_last_page {
                break;
            }
            after = Some(last);
        }
        found.truncate(query.limit);
        Ok(found)
    }

    /// Those of them that are still known. What another version of us has told in another way is left out.
    async fn read_workers(
        &self,
        namespace: &Namespace,
        names: Vec<WorkerId>,
        clock: i64,
    ) -> Result<Vec<Worker>, Error> {
        let mut pipeline = Pipeline::new();
        for name in &names {
            pipeline.cmd("HMGET").arg(self.keys.worker(namespace, name));
            pipeline.arg(&["came", "until", "end", "asked", "facts"]);
        }
        let answers: Vec<Vec<redis::Value>> = self.connection.run("read workers", None, &pipeline).await?;
        let read = names.into_iter().zip(answers);
        Ok(read.filter_map(|(id, answer)| read_worker(id, answer, clock)).collect())
    }

    pub(crate) async fn drain(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, Error> {
        let script = &self.scripts.drain_worker;
        let mut call = script.prepare_invoke();
        call.key(self.keys.worker(namespace, worker_id));
        let mut pipeline = Pipeline::new();
        pipeline.invoke_script(&call);
        let (is_live,): (bool,) = self.connection.run("drain a worker", Some(script), &pipeline).await?;
        if is_live {
            let hint = DrainHint { namespace: namespace.clone(), worker_id: worker_id.clone() };
            let mut pipeline = Pipeline::new();
            pipeline.publish(self.keys.hints(), codec::encode_drain(&hint)).ignore();
            self.connection.run::<()>("tell who is to drain", None, &pipeline).await?;
        }
        Ok(is_live)
    }
}

fn read_worker(id: WorkerId, answer: Vec<redis::Value>, clock: i64) -> Option<Worker> {
    let mut values = answer.into_iter();
    let came: Option<i64> = read_next(&mut values)?;
    let until: Option<i64> = read_next(&mut values)?;
    let end: Option<String> = read_next(&mut values)?;
    let is_asked = read_next::<Option<u8>>(&mut values)?.is_some();
    let facts: Option<String> = read_next(&mut values)?;
    let (about, mut load) = codec::decode_facts(&facts?)?;
    load.is_draining |= is_asked;
    let end = parse_end(&end?)?.or((clock > until?).then_some(WorkerEnd::Lost));
    Some(Worker { id, about, load, came_at: Timestamp::from_micros(came?), end })
}

const fn end_word(end: Option<WorkerEnd>) -> &'static str {
    match end {
        None => "",
        Some(WorkerEnd::Drained) => "drained",
        Some(WorkerEnd::Left) => "left",
        Some(WorkerEnd::Lost) => "lost",
    }
}

/// None for a word of another version of us.
fn parse_end(word: &str) -> Option<Option<WorkerEnd>> {
    match word {
        "" => Some(None),
        "drained" => Some(Some(WorkerEnd::Drained)),
        "left" => Some(Some(WorkerEnd::Left)),
        "lost" => Some(Some(WorkerEnd::Lost)),
        _ => None,
    }
}

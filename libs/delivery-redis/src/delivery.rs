use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use redis::{Client, Pipeline, ScriptInvocation};
use tidegate_delivery::{
    Capacity, Delivery, Entry, EntryId, Error, Function, Generation, Held, Hint, Hints, Lease, LeaseQuestion,
    Pausable, PoolId, QueueDepth, QueueId, Requirements, Serving, Standing, Stop, Taken, Takers, Want,
    WorkerNews, WorkerQuery, WorkerTerms, hint_channel, label_line,
};
use tidegate_model::{FairnessKey, Namespace, QueueName, RunId, Timestamp, Worker, WorkerId};
use tokio::{sync::broadcast, task::JoinSet};

use crate::{
    answers::{Found, read_next, read_taken, unreadable},
    codec,
    connection::{Connection, RedisOptions, unavailable},
    keys::{Keys, LEASE_PARTS},
    listener,
    scripts::{EVEN_WHEN_FULL, RANK_OF_PRIORITY, Scripts},
};

/// The most entries that one call of a script is given, so that Redis is never busy for long.
const ENTRIES_PER_CALL: usize = 500;
/// At most so many entries become ready in one take.
const MOVED_PER_TAKE: usize = 1_000;
/// From so many functions on, a take asks first which of them have entries.
const MANY_FUNCTIONS: usize = 16;
/// Of the lanes of a function that require the same first label, at most so many are looked at in one take.
const LANES_PER_LABEL: usize = 256;
/// Of all lanes that require labels, at most so many are looked at in one take.
const LANES_WITH_LABELS: usize = 512;
/// How soon to look again where lanes were left out: when their entries are due is not known.
const LOOK_AGAIN_IN: Duration = Duration::from_secs(1);
/// So many lanes are counted in one round trip.
const LANES_COUNTED_AT_ONCE: usize = 1_000;
/// For how long a drained queue is still counted.
const KEPT_IN_DEPTHS: Duration = Duration::from_secs(3_600);
/// How many queues are counted by one pipeline: its answer keeps others on the connection waiting.
const COUNTED_AT_ONCE: usize = 128;

/// Delivery state in Redis.
pub struct RedisDelivery {
    pub(crate) connection: Connection,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    hints: broadcast::Sender<Hint>,
    /// Feeds `hints`; ends when this is dropped.
    _listener: Mutex<JoinSet<()>>,
}

/// How entries are placed. One that is known under the same epoch is left alone, or replaced.
#[derive(Clone, Copy)]
enum Mode {
    New,
    /// Where Redis is full, too.
    Back,
}

impl RedisDelivery {
    /// Connects. Later failures of the connection mend themselves; this first one is an error, so that a
    /// wrong address shows at once.
    pub async fn connect(options: &RedisOptions) -> Result<Self, Error> {
        let client = Client::open(options.url.as_str())
            .map_err(|source| unavailable("read the address of Redis", source))?;
        let keys = Keys::new(&options.prefix);
        let connection = Connection::open(&client).await?;
        let hints = hint_channel();
        let subscription = listener::subscribe(&client, &keys.hints()).await?;
        let mut tasks = JoinSet::new();
        let left = Arc::clone(&connection.left);
        tasks.spawn(listener::listen(client, keys.hints(), subscription, hints.clone(), left));
        Ok(Self { connection, keys, scripts: Scripts::new(), hints, _listener: Mutex::new(tasks) })
    }

    async fn place(&self, entries: &[Entry], now: Timestamp, mode: Mode) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut lanes: HashMap<(&QueueId, &Function, &Requirements), Vec<&Entry>> = HashMap::new();
        let mut queues: HashMap<&QueueId, Timestamp> = HashMap::new();
        for entry in entries {
            let EntryId { queue, function, requires, .. } = &entry.id;
            lanes.entry((queue, function, requires)).or_default().push(entry);
            let due_at = queues.entry(&entry.id.queue).or_insert(entry.due_at);
            *due_at = entry.due_at.min(*due_at);
        }
        let mut pipeline = Pipeline::new();
        for queue in queues.keys() {
            match mode {
                Mode::New => pipeline.cmd("ZADD").arg(self.keys.queues()),
                Mode::Back => {
                    pipeline.cmd("EVAL").arg(EVEN_WHEN_FULL).arg(1).arg(self.keys.queues()).arg("ZADD")
                }
            };
            pipeline.arg("GT").arg(millis(now)).arg(queue.to_string()).ignore();
        }
        let script = match mode {
            Mode::New => &self.scripts.place,
            Mode::Back => &self.scripts.put_back,
        };
        for ((queue, function, requires), entries) in lanes {
            let lane = codec::lane(function, requires);
            for entries in entries.chunks(ENTRIES_PER_CALL) {
                let mut call = self.lane_call(script, queue, &lane);
                call.arg(match mode {
                    Mode::New => "new",
                    Mode::Back => "back",
                });
                let is_plain = |entry: &&Entry| entry.id.fairness_key.is_none() && entry.prefers.is_none();
                let are_plain = entries.iter().all(is_plain);
                call.arg(millis(now)).arg(self.keys.base(queue)).arg(&lane).arg(if are_plain {
                    5
                } else {
                    7
                });
                for entry in entries {
                    let (priority, due) = (entry.bounded_priority(), entry.due_at_millis());
                    let rank = i64::from(100 - priority) * RANK_OF_PRIORITY + due;
                    call.arg(&entry.id.run_id.as_uuid().as_bytes()[..]);
                    call.arg(entry.id.epoch.0).arg(priority).arg(due).arg(rank);
                    if !are_plain {
                        call.arg(fairness_key(&entry.id));
                        call.arg(entry.prefers.as_ref().map_or("", |worker_id| worker_id.as_str()));
                    }
                }
                pipeline.invoke_script(&call).ignore();
            }
        }
        let message = codec::encode_ready(queues.into_iter());
        pipeline.publish(self.keys.hints(), message).ignore();
        self.connection.run("place entries", Some(script), &pipeline).await
    }

    /// A call with the keys that `place` and `forget` take.
    fn lane_call<'a>(&self, script: &'a redis::Script, queue: &QueueId, lane: &str) -> ScriptInvocation<'a> {
        let lane = self.keys.lane(queue, lane);
        let mut call = script.prepare_invoke();
        call.key(lane.ready).key(lane.delayed).key(lane.taken).key(lane.facts);
        call.key(self.keys.claims(queue)).key(self.keys.active(queue));
        call
    }

    /// The lanes that the taker may take from and that may have entries. One that is missed was empty a moment ago.
    async fn lanes(&self, want: &Want<'_>) -> Result<Lanes, Error> {
        let plain = |function: &Function| (function.clone(), Requirements::default());
        let asks_which = want.functions.len() >= MANY_FUNCTIONS;
        if !asks_which && want.labels.is_empty() {
            return Ok(Lanes { found: want.functions.iter().map(plain).collect(), left_some_out: false });
        }
        let mut pipeline = Pipeline::new();
        let mut call = self.scripts.lanes.prepare_invoke();
        call.key(self.keys.needed(want.queue)).arg(self.keys.base(want.queue));
        call.arg(LANES_PER_LABEL).arg(LANES_WITH_LABELS).arg(want.functions.len());
        for function in want.functions {
            call.arg(function.to_string());
        }
        for (key, value) in want.labels {
            call.arg(label_line(key, value));
        }
        pipeline.invoke_script(&call);
        if asks_which {
            pipeline.cmd("SMISMEMBER").arg(self.keys.active(want.queue));
            for function in want.functions {
                pipeline.arg(function.to_string());
            }
        }
        let answers: Vec<redis::Value> =
            self.connection.run("look for entries", Some(&self.scripts.lanes), &pipeline).await?;
        let mut answers = answers.into_iter();
        let with_labels: Vec<String> =
            read_next(&mut answers).ok_or_else(|| unreadable("look for entries"))?;
        let mut found: Vec<_> = if asks_which {
            let active: Vec<bool> = read_next(&mut answers).ok_or_else(|| unreadable("look for entries"))?;
            let functions = want.functions.iter().zip(active).filter(|(_, is_active)| *is_active);
            functions.map(|(function, _)| plain(function)).collect()
        } else {
            want.functions.iter().map(plain).collect()
        };
        let Some((left_some_out, with_labels)) = with_labels.split_first() else {
            return Err(unreadable("look for entries"));
        };
        let with_labels = with_labels.iter().filter_map(|lane| codec::parse_lane(lane));
        let mut with_labels: Vec<_> =
            with_labels.filter(|(_, requires)| requires.are_met_by(want.labels)).collect();
        with_labels.sort();
        found.extend(with_labels);
        Ok(Lanes { found, left_some_out: left_some_out != "0" })
    }

    /// Calls `script` once for each part of the leases that `runs` are in. Answers, per part, the positions
    /// that belong to it and the answer.
    async fn on_leases<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        script: &redis::Script,
        runs: impl Iterator<Item = RunId>,
        mut arguments: impl FnMut(&mut ScriptInvocation<'_>, &[usize]),
    ) -> Result<Vec<(Vec<usize>, T)>, Error> {
        let mut parts = vec![Vec::new(); LEASE_PARTS];
        for (position, run_id) in runs.enumerate() {
            parts[Keys::lease_part(run_id)].push(position);
        }
        let mut asked = Vec::new();
        let mut pipeline = Pipeline::new();
        for (part, positions) in parts.into_iter().enumerate() {
            for positions in positions.chunks(ENTRIES_PER_CALL) {
                let mut call = script.prepare_invoke();
                call.key(self.keys.expiry(part)).key(self.keys.holders(part)).key(self.keys.hindrances(part));
                arguments(&mut call, positions);
                pipeline.invoke_script(&call);
                asked.push(positions.to_vec());
            }
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<T> = self.connection.run(operation, Some(script), &pipeline).await?;
        Ok(asked.into_iter().zip(answers).collect())
    }
}

#[async_trait]
impl Delivery for RedisDelivery {
    async fn enqueue(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error> {
        self.place(entries, now, Mode::New).await
    }

    async fn take(&self, want: Want<'_>) -> Result<Taken, Error> {
        if want.limit == 0 || want.functions.is_empty() {
            return Ok(Taken::default());
        }
        let Lanes { found: lanes, left_some_out } = self.lanes(&want).await?;
        let look_again_in = left_some_out.then_some(LOOK_AGAIN_IN);
        if lanes.is_empty() {
            return Ok(Taken { entries: Vec::new(), next_in: look_again_in });
        }
        let mut call = self.scripts.take.prepare_invoke();
        call.key(self.keys.claims(want.queue)).key(self.keys.active(want.queue));
        call.arg(want.limit).arg(millis(want.now)).arg(duration_millis(want.claim_lease));
        call.arg(MOVED_PER_TAKE).arg(self.keys.base(want.queue));
        for (function, requires) in &lanes {
            let lane = codec::lane(function, requires);
            let keys = self.keys.lane(want.queue, &lane);
            call.key(keys.ready).key(keys.delayed).key(keys.taken).key(keys.facts);
            call.arg(lane);
        }
        let mut pipeline = Pipeline::new();
        pipeline.invoke_script(&call);
        let (answer,): (Vec<redis::Value>,) =
            self.connection.run("take entries", Some(&self.scripts.take), &pipeline).await?;
        let mut taken = read_taken(want.queue, &lanes, answer).ok_or_else(|| unreadable("take entries"))?;
        taken.next_in = taken.next_in.into_iter().chain(look_again_in).min();
        Ok(taken)
    }

    async fn put_back(&self, entries: &[Entry], now: Timestamp) -> Result<(), Error> {
        self.place(entries, now, Mode::Back).await
    }

    async fn forget(&self, entries: &[EntryId]) -> Result<(), Error> {
        let mut lanes: HashMap<(&QueueId, &Function, &Requirements), Vec<&EntryId>> = HashMap::new();
        for entry in entries {
            lanes.entry((&entry.queue, &entry.function, &entry.requires)).or_default().push(entry);
        }
        let mut pipeline = Pipeline::new();
        for ((queue, function, requires), entries) in lanes {
            let lane = codec::lane(function, requires);
            for entries in entries.chunks(ENTRIES_PER_CALL) {
                let mut call = self.lane_call(&self.scripts.forget, queue, &lane);
                call.arg(self.keys.base(queue)).arg(&lane);
                for entry in entries {
                    call.arg(&entry.run_id.as_uuid().as_bytes()[..]).arg(entry.epoch.0);
                    call.arg(fairness_key(entry));
                }
                pipeline.invoke_script(&call).ignore();
            }
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        self.connection.run("forget entries", Some(&self.scripts.forget), &pipeline).await
    }

    async fn lease(&self, leases: &[Lease], duration: Duration) -> Result<(), Error> {
        let runs = leases.iter().map(|lease| lease.held.run_id);
        let arguments = |call: &mut ScriptInvocation<'_>, positions: &[usize]| {
            call.arg(duration_millis(duration));
            for lease in positions.iter().map(|position| &leases[*position]) {
                call.arg(&lease.held.run_id.as_uuid().as_bytes()[..]).arg(lease.held.epoch.0);
                call.arg(codec::holder(lease));
            }
        };
        self.on_leases::<()>("grant leases", &self.scripts.lease, runs, arguments).await.map(drop)
    }

    async fn renew(
        &self,
        namespace: &Namespace,
        held: &[Held],
        hindrances: &HashMap<Held, String>,
        duration: Duration,
    ) -> Result<Vec<bool>, Error> {
        let runs = held.iter().map(|held| held.run_id);
        let arguments = |call: &mut ScriptInvocation<'_>, positions: &[usize]| {
            call.arg(duration_millis(duration)).arg(namespace.as_str());
            for held in positions.iter().map(|position| &held[*position]) {
                call.arg(&held.run_id.as_uuid().as_bytes()[..]).arg(held.epoch.0);
                call.arg(hindrances.get(held).map_or("", String::as_str));
            }
        };
        let answers: Vec<(_, Vec<bool>)> =
            self.on_leases("renew leases", &self.scripts.renew, runs, arguments).await?;
        let mut renewed = vec![false; held.len()];
        for (positions, answers) in answers {
            for (position, answer) in positions.into_iter().zip(answers) {
                renewed[position] = answer;
            }
        }
        Ok(renewed)
    }

    async fn release(&self, held: &[Held]) -> Result<(), Error> {
        let runs = held.iter().map(|held| held.run_id);
        let arguments = |call: &mut ScriptInvocation<'_>, positions: &[usize]| {
            for held in positions.iter().map(|position| &held[*position]) {
                call.arg(&held.run_id.as_uuid().as_bytes()[..]).arg(held.epoch.0);
            }
        };
        self.on_leases::<()>("release leases", &self.scripts.release, runs, arguments).await.map(drop)
    }

    async fn expired(&self, limit: usize, judge_for: Duration) -> Result<Vec<Lease>, Error> {
        let mut pipeline = Pipeline::new();
        for part in 0..LEASE_PARTS {
            let mut call = self.scripts.expired.prepare_invoke();
            call.key(self.keys.expiry(part)).key(self.keys.holders(part));
            call.arg(limit.div_ceil(LEASE_PARTS)).arg(duration_millis(judge_for));
            pipeline.invoke_script(&call);
        }
        let answers: Vec<Vec<(Vec<u8>, Vec<u8>)>> =
            self.connection.run("look for expired leases", Some(&self.scripts.expired), &pipeline).await?;
        let leases = answers.iter().flatten().map(|(run_id, holder)| codec::lease(run_id, holder));
        leases.collect::<Option<_>>().ok_or_else(|| unreadable("look for expired leases"))
    }

    async fn check(&self, questions: &[LeaseQuestion]) -> Result<Vec<bool>, Error> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::new();
        for LeaseQuestion { queue, held } in questions {
            let run_id = held.run_id.as_uuid();
            pipeline.hget(self.keys.holders(Keys::lease_part(held.run_id)), &run_id.as_bytes()[..]);
            pipeline.hget(self.keys.claims(queue), &run_id.as_bytes()[..]);
        }
        let answers: Vec<Option<Vec<u8>>> = self.connection.run("check leases", None, &pipeline).await?;
        let is_held = |(question, answers): (&LeaseQuestion, &[Option<Vec<u8>>])| {
            let epoch_of = |answer: &Option<Vec<u8>>| answer.as_deref().and_then(codec::epoch);
            let leased = answers.first().and_then(epoch_of) == Some(question.held.epoch);
            let claimed = answers.get(1).and_then(epoch_of);
            leased || claimed.is_some_and(|epoch| epoch <= question.held.epoch)
        };
        Ok(questions.iter().zip(answers.chunks(2)).map(is_held).collect())
    }

    async fn generation(&self) -> Result<Generation, Error> {
        let mut call = self.scripts.generation.prepare_invoke();
        call.key(self.keys.born_at()).key(self.keys.born_by());
        let mut pipeline = Pipeline::new();
        pipeline.invoke_script(&call);
        let ((born, now),): ((i64, i64),) =
            self.connection.run("read the generation", Some(&self.scripts.generation), &pipeline).await?;
        let (born_at, now) = (Timestamp::from_micros(born), Timestamp::from_micros(now));
        Ok(Generation { born_at, age: now.since(born_at), now })
    }

    async fn stop(&self, stops: &[Stop]) -> Result<(), Error> {
        if stops.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        pipeline.publish(self.keys.hints(), codec::encode_stop(stops)).ignore();
        self.connection.run("tell holders to stop", None, &pipeline).await
    }

    async fn resumed(&self, what: &Pausable) -> Result<(), Error> {
        let mut pipeline = Pipeline::new();
        pipeline.publish(self.keys.hints(), codec::encode_resumed(what)).ignore();
        self.connection.run("tell what is resumed", None, &pipeline).await
    }

    fn hints(&self) -> Hints {
        self.hints.subscribe().into()
    }

    async fn standing(&self, entry: &EntryId, now: Timestamp) -> Result<Standing, Error> {
        let run_id = entry.run_id.as_uuid();
        let member = &run_id.as_bytes()[..];
        let part = Keys::lease_part(entry.run_id);
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME");
        pipeline.hget(self.keys.holders(part), member).zscore(self.keys.expiry(part), member);
        pipeline.hexists(self.keys.claims(&entry.queue), member);
        let (lane, key) = (codec::lane_of(entry), fairness_key(entry));
        let keys = self.keys.lane(&entry.queue, &lane);
        let group = match key {
            "" => keys.ready.clone(),
            key => self.keys.group(&entry.queue, &lane, key),
        };
        let (ring, delayed) = (self.keys.ring(&entry.queue, &lane), [member, key.as_bytes()].concat());
        pipeline.zrank(&group, member).zscore(&keys.delayed, &delayed).zrank(&keys.delayed, &delayed);
        pipeline.zcard(&keys.ready).hget(self.keys.keyed(&entry.queue), &lane).zcard(&group);
        pipeline.zcard(&ring).zrank(&ring, key);
        pipeline.hget(self.keys.hindrances(part), member);
        let answers: Vec<redis::Value> = self.connection.run("look for a run", None, &pipeline).await?;
        let found = Found::read(answers).ok_or_else(|| unreadable("look for a run"))?;
        if let (Some(holder), Some(expiry)) = (&found.holder, found.expiry) {
            let lease = codec::lease(member, holder).ok_or_else(|| unreadable("look for a run"))?;
            let clock = found.time.0.saturating_mul(1_000) + found.time.1 / 1_000;
            let left = u64::try_from((expiry as i64).saturating_sub(clock)).unwrap_or(0);
            return Ok(Standing::Leased {
                worker_id: lease.worker_id,
                expires_in: Duration::from_millis(left),
                hindrance: found.hindrance.unwrap_or_default(),
            });
        }
        Ok(match found.due {
            _ if found.is_claimed => Standing::Claimed,
            _ if found.n_before.is_some() => Standing::Ready { n_ahead: found.lane().n_ahead() },
            Some(due) if due as i64 <= millis(now) => {
                Standing::Ready { n_ahead: found.n_ready() + found.n_delayed_before.unwrap_or(0) }
            }
            Some(due) => {
                Standing::Delayed { due_at: Timestamp::from_micros((due as i64).saturating_mul(1_000)) }
            }
            None => Standing::Unknown,
        })
    }

    async fn announce(&self, replica: &str, servings: &[Serving], duration: Duration) -> Result<(), Error> {
        let mut time = Pipeline::new();
        time.cmd("TIME");
        let ((seconds, micros),): ((i64, i64),) = self.connection.run("read the time", None, &time).await?;
        let clock = seconds.saturating_mul(1_000) + micros / 1_000;
        let duration = i64::try_from(duration_millis(duration)).unwrap_or(i64::MAX);
        let mut pipeline = Pipeline::new();
        pipeline.zrembyscore(self.keys.replicas(), "-inf", clock).ignore();
        pipeline.cmd("EVAL").arg(EVEN_WHEN_FULL).arg(1).arg(self.keys.replicas());
        pipeline.arg("ZADD").arg(clock.saturating_add(duration)).arg(replica).ignore();
        pipeline.cmd("EVAL").arg(EVEN_WHEN_FULL).arg(1).arg(self.keys.serving(replica));
        pipeline.arg("SET").arg(codec::encode_servings(servings)).arg("PX").arg(duration).ignore();
        self.connection.run("announce workers", None, &pipeline).await
    }

    async fn takers(
        &self,
        queue: &QueueId,
        function: &Function,
        requires: &Requirements,
    ) -> Result<Takers, Error> {
        Ok(Takers::among(self.servings().await?.iter(), queue, function, requires))
    }

    async fn queue_capacity(&self, queue: &QueueId) -> Result<Capacity, Error> {
        let servings = self.servings().await?;
        let serving = servings.iter().filter(|serving| serving.serves_queue(queue));
        Ok(serving.map(|serving| serving.capacity).sum())
    }

    async fn pool_capacity(&self, pool: &PoolId) -> Result<Capacity, Error> {
        let servings = self.servings().await?;
        let serving = servings.iter().filter(|serving| serving.serves_pool(pool));
        Ok(serving.map(|serving| serving.capacity).sum())
    }

    async fn tell_workers(&self, news: &[WorkerNews], terms: WorkerTerms) -> Result<Vec<bool>, Error> {
        self.tell(news, terms).await
    }

    async fn workers(&self, query: WorkerQuery<'_>) -> Result<Vec<Worker>, Error> {
        self.list(query).await
    }

    async fn drain_worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> Result<bool, Error> {
        self.drain(namespace, worker_id).await
    }

    async fn depth(&self, queue: &QueueId) -> Result<QueueDepth, Error> {
        let counted = self.count(std::slice::from_ref(queue)).await?;
        counted.into_iter().next().ok_or_else(|| unreadable("count entries"))
    }

    async fn depths_of(
        &self,
        namespace: &Namespace,
        after: Option<&QueueName>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<QueueDepth>, Error> {
        let used = self.queues().await?.into_iter();
        let mut queues: Vec<_> = used
            .filter(|(queue, _)| queue.namespace == *namespace)
            .filter(|(queue, _)| after.is_none_or(|after| queue.queue > *after))
            .collect();
        queues.sort_by(|(a, _), (b, _)| a.cmp(b));
        let oldest = millis(now - KEPT_IN_DEPTHS) as f64;
        let mut depths = Vec::new();
        let (names, used_at): (Vec<_>, Vec<_>) = queues.into_iter().unzip();
        let n_at_once = limit.clamp(1, COUNTED_AT_ONCE);
        for (names, used_at) in names.chunks(n_at_once).zip(used_at.chunks(n_at_once)) {
            if depths.len() >= limit {
                break;
            }
            let counted = self.count(names).await?.into_iter().zip(used_at);
            let listed = counted.filter(|(depth, used_at)| **used_at >= oldest || !is_empty(depth));
            depths.extend(listed.map(|(depth, _)| depth));
        }
        depths.truncate(limit);
        Ok(depths)
    }

    async fn depths(&self, now: Timestamp) -> Result<Vec<QueueDepth>, Error> {
        let oldest = millis(now - KEPT_IN_DEPTHS) as f64;
        let mut depths = Vec::new();
        let (names, used_at): (Vec<_>, Vec<_>) = self.queues().await?.into_iter().unzip();
        for (names, used_at) in names.chunks(COUNTED_AT_ONCE).zip(used_at.chunks(COUNTED_AT_ONCE)) {
            let mut pipeline = Pipeline::new();
            for (depth, used_at) in self.count(names).await?.into_iter().zip(used_at) {
                if *used_at < oldest && is_empty(&depth) {
                    pipeline.zrem(self.keys.queues(), depth.queue.to_string()).ignore();
                } else {
                    depths.push(depth);
                }
            }
            if !pipeline.is_empty() {
                self.connection.run::<()>("drop unused queues", None, &pipeline).await?;
            }
        }
        Ok(depths)
    }
}

impl RedisDelivery {
    /// The queues, each with the time in ms at which it was last used.
    async fn queues(&self) -> Result<Vec<(QueueId, f64)>, Error> {
        let mut pipeline = Pipeline::new();
        pipeline.zrange_withscores(self.keys.queues(), 0, -1);
        let (queues,): (Vec<(String, f64)>,) = self.connection.run("list queues", None, &pipeline).await?;
        Ok(queues.iter().filter_map(|(name, used_at)| Some((codec::queue(name)?, *used_at))).collect())
    }

    /// What the workers of all replicas serve. What has ended, or is of another version of us, counts for nothing.
    async fn servings(&self) -> Result<Vec<Serving>, Error> {
        let mut pipeline = Pipeline::new();
        pipeline.zrange(self.keys.replicas(), 0, -1);
        let (replicas,): (Vec<String>,) = self.connection.run("list replicas", None, &pipeline).await?;
        if replicas.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::new();
        for replica in &replicas {
            pipeline.get(self.keys.serving(replica));
        }
        let announced: Vec<Option<String>> =
            self.connection.run("read what workers serve", None, &pipeline).await?;
        Ok(announced.iter().flatten().filter_map(|text| codec::decode_servings(text)).flatten().collect())
    }

    /// How much is in each of these queues, in their order. Few round trips for all of them.
    async fn count(&self, queues: &[QueueId]) -> Result<Vec<QueueDepth>, Error> {
        let mut pipeline = Pipeline::new();
        for queue in queues {
            pipeline.smembers(self.keys.active(queue)).hvals(self.keys.keyed(queue));
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<redis::Value> = self.connection.run("list lanes", None, &pipeline).await?;
        let mut answers = answers.into_iter();
        let mut depths = Vec::with_capacity(queues.len());
        // Each with the index of its queue.
        let mut lanes = Vec::new();
        for (idx, queue) in queues.iter().enumerate() {
            let active: Option<Vec<String>> = read_next(&mut answers);
            let keyed: Option<Vec<u64>> = read_next(&mut answers);
            let (Some(active), Some(keyed)) = (active, keyed) else { return Err(unreadable("list lanes")) };
            depths.push(QueueDepth {
                queue: queue.clone(),
                ready: keyed.iter().sum(),
                delayed: 0,
                claimed: 0,
            });
            lanes.extend(active.into_iter().map(|lane| (idx, lane)));
        }
        for lanes in lanes.chunks(LANES_COUNTED_AT_ONCE) {
            let mut pipeline = Pipeline::new();
            for (idx, lane) in lanes {
                let lane = self.keys.lane(&queues[*idx], lane);
                pipeline.zcard(lane.ready).zcard(lane.delayed).zcard(lane.taken);
            }
            let counts: Vec<u64> = self.connection.run("count entries", None, &pipeline).await?;
            for ((idx, _), counts) in lanes.iter().zip(counts.chunks_exact(3)) {
                let depth = &mut depths[*idx];
                depth.ready += counts[0];
                depth.delayed += counts[1];
                depth.claimed += counts[2];
            }
        }
        Ok(depths)
    }
}

/// Lanes to take from.
struct Lanes {
    found: Vec<(Function, Requirements)>,
    /// There are more than one take looks at.
    left_some_out: bool,
}

const fn is_empty(depth: &QueueDepth) -> bool {
    depth.ready + depth.delayed + depth.claimed == 0
}

/// As scripts take it: empty for none.
fn fairness_key(entry: &EntryId) -> &str {
    entry.fairness_key.as_ref().map_or("", FairnessKey::as_str)
}

fn millis(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000)
}

pub(crate) fn duration_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

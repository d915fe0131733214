//! All names in Redis. A key ends with its version first and its part last; the part in braces is the hash
//! tag, so that the keys of one script lie in one slot of a cluster. `tg` is the default prefix.
//!
//! | key | type | what | lives |
//! |---|---|---|---|
//! | `{tg:<ns>/<queue>}:v1:ready:<lane>` | sorted set | run ids by rank (priority, then due time) | while entries without a fairness key are ready |
//! | `{tg:<ns>/<queue>}:v1:group:<lane> LF <fairness key>` | sorted set | the same of those with this key | while they are ready |
//! | `{tg:<ns>/<queue>}:v1:ring:<lane>` | sorted set | fairness keys by the best priority and the turn of their group | as its groups |
//! | `{tg:<ns>/<queue>}:v1:delayed:<lane>` | sorted set | run ids, each with its fairness key behind it, by due time in ms | while entries wait for their time |
//! | `{tg:<ns>/<queue>}:v1:taken:<lane>` | sorted set | run ids by the end of their claim in ms | while claims are under way |
//! | `{tg:<ns>/<queue>}:v1:facts:<lane>` | hash | run id → `epoch priority [preferred worker]`, unless that is `0 0` | as ready and delayed |
//! | `{tg:<ns>/<queue>}:v1:claims` | hash | run id → `epoch priority due`, then a line each: fairness key, preferred worker | as taken |
//! | `{tg:<ns>/<queue>}:v1:active` | set | lanes that may have entries | until a take or forget finds none |
//! | `{tg:<ns>/<queue>}:v1:needed` | set | functions with active lanes that require labels | as active |
//! | `{tg:<ns>/<queue>}:v1:needed:<function>` | set | first labels that its active lanes require | as active |
//! | `{tg:<ns>/<queue>}:v1:needs:<function> LF <label>` | set | its active lanes of which this is the first label | as active |
//! | `{tg:<ns>/<queue>}:v1:keyed` | hash | lane → its ready entries with a fairness key | while there are any |
//! | `{tg:<ns>/<queue>}:v1:turns` | hash | fairness key → the turn of its group, in how many lanes it waits; the latest turn | as keyed |
//! | `{tg:leases/<part>}:v1:expiry` | sorted set | run ids by the end of their lease in ms | while runs are held |
//! | `{tg:leases/<part>}:v1:holders` | hash | run id → epoch, namespace, worker: a line each | as expiry |
//! | `{tg:leases/<part>}:v1:hindrances` | hash | run id → what keeps it from beginning, for people | until its next renewal |
//! | `{tg:workers/<ns>}:v1:ids` | sorted set | ids of workers, all with the score 0: in the order of their bytes | an hour after the last word of any |
//! | `{tg:workers/<ns>}:v1:told` | sorted set | the same by the time of the last word of each in ms | as ids |
//! | `{tg:workers/<ns>}:v1:worker:<id>` | hash | `stream`, `opened` and `came` in µs, `until` in ms, `end`, `facts` (see `codec`), `asked` to drain | an hour after the last word of it |
//! | `tg:v1:queues` | sorted set | `<ns>/<queue>` by last use in ms | an hour after the last use, for the gauges |
//! | `tg:v1:replicas` | sorted set | names of replicas by the end of what they announced in ms | until then |
//! | `tg:v1:serving:<replica>` | string | what its workers serve, see `codec` | as announced |
//! | `tg:v1:born_at` | string | µs since the Unix epoch | until all is lost, or the server is another |
//! | `{tg:v1:born_at}:by` | string | the `run_id` of the server that has `born_at` | as `born_at` |
//! | `tg:v1:hints` | channel | see `codec` | |
//!
//! A lane is `<kind>:<name>`, or `pool:<name>` for all runs of a work pool, and where labels are required a line for each, `<key>=<value>`, in the order of the keys.
//!
//! task-queue owns all of them. Run ids are the 16 bytes of the UUID.

use tidegate_delivery::QueueId;
use tidegate_model::{Namespace, RunId, WorkerId};

/// How many parts the leases are split into, so that a cluster shares them. Changing it needs a new version
/// of the two keys.
pub(crate) const LEASE_PARTS: usize = 8;

/// Makes the names. Two deployments, or two tests, share a server under different prefixes.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

/// The names of one lane of one queue, in the order in which scripts take them.
pub(crate) struct LaneKeys {
    pub(crate) ready: String,
    pub(crate) delayed: String,
    pub(crate) taken: String,
    pub(crate) facts: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn of_queue(&self, queue: &QueueId, part: &str) -> String {
        format!("{{{}:{queue}}}:v1:{part}", self.prefix)
    }

    /// What the names of a queue begin with, for scripts that make further ones.
    pub(crate) fn base(&self, queue: &QueueId) -> String {
        self.of_queue(queue, "")
    }

    pub(crate) fn lane(&self, queue: &QueueId, lane: &str) -> LaneKeys {
        let key = |part: &str| self.of_queue(queue, &format!("{part}:{lane}"));
        LaneKeys { ready: key("ready"), delayed: key("delayed"), taken: key("taken"), facts: key("facts") }
    }

    pub(crate) fn claims(&self, queue: &QueueId) -> String {
        self.of_queue(queue, "claims")
    }

    /// The ready entries of a lane with a fairness key.
    pub(crate) fn group(&self, queue: &QueueId, lane: &str, key: &str) -> String {
        self.of_queue(queue, &format!("group:{lane}\n{key}"))
    }

    pub(crate) fn ring(&self, queue: &QueueId, lane: &str) -> String {
        self.of_queue(queue, &format!("ring:{lane}"))
    }

    pub(crate) fn keyed(&self, queue: &QueueId) -> String {
        self.of_queue(queue, "keyed")
    }

    pub(crate) fn needed(&self, queue: &QueueId) -> String {
        self.of_queue(queue, "needed")
    }

    pub(crate) fn active(&self, queue: &QueueId) -> String {
        self.of_queue(queue, "active")
    }

    /// The part of the leases that a run's is in.
    pub(crate) fn lease_part(run_id: RunId) -> usize {
        // The last byte of a UUIDv7 is random; its first ones are a time.
        usize::from(run_id.as_uuid().as_bytes()[15]) % LEASE_PARTS
    }

    pub(crate) fn expiry(&self, part: usize) -> String {
        format!("{{{}:leases/{part}}}:v1:expiry", self.prefix)
    }

    pub(crate) fn holders(&self, part: usize) -> String {
        format!("{{{}:leases/{part}}}:v1:holders", self.prefix)
    }

    pub(crate) fn hindrances(&self, part: usize) -> String {
        format!("{{{}:leases/{part}}}:v1:hindrances", self.prefix)
    }

    fn of_workers(&self, namespace: &Namespace, part: &str) -> String {
        format!("{{{}:workers/{namespace}}}:v1:{part}", self.prefix)
    }

    pub(crate) fn worker_ids(&self, namespace: &Namespace) -> String {
        self.of_workers(namespace, "ids")
    }

    pub(crate) fn workers_told(&self, namespace: &Namespace) -> String {
        self.of_workers(namespace, "told")
    }

    /// What the names of workers begin with, for scripts that make further ones.
    pub(crate) fn workers_base(&self, namespace: &Namespace) -> String {
        self.of_workers(namespace, "worker:")
    }

    pub(crate) fn worker(&self, namespace: &Namespace, worker_id: &WorkerId) -> String {
        format!("{}{worker_id}", self.workers_base(namespace))
    }

    pub(crate) fn queues(&self) -> String {
        format!("{}:v1:queues", self.prefix)
    }

    pub(crate) fn replicas(&self) -> String {
        format!("{}:v1:replicas", self.prefix)
    }

    pub(crate) fn serving(&self, replica: &str) -> String {
        format!("{}:v1:serving:{replica}", self.prefix)
    }

    pub(crate) fn born_at(&self) -> String {
        format!("{}:v1:born_at", self.prefix)
    }

    /// In the slot of `born_at`.
    pub(crate) fn born_by(&self) -> String {
        format!("{{{}}}:by", self.born_at())
    }

    pub(crate) fn hints(&self) -> String {
        format!("{}:v1:hints", self.prefix)
    }
}

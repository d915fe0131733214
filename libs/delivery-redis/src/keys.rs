//! All names in Redis. A key ends with its version first and its part last; the part in braces is the hash
//! tag, so that the keys of one script lie in one slot of a cluster. `tg` is the default prefix.
//!
//! | key | type | what | lives |
//! |---|---|---|---|
//! | `{tg:<ns>/<queue>}:v1:ready:<kind>:<name>` | sorted set | run ids by rank (priority, then due time) | while entries are ready |
//! | `{tg:<ns>/<queue>}:v1:delayed:<kind>:<name>` | sorted set | run ids by due time in ms | while entries wait for their time |
//! | `{tg:<ns>/<queue>}:v1:taken:<kind>:<name>` | sorted set | run ids by the end of their claim in ms | while claims are under way |
//! | `{tg:<ns>/<queue>}:v1:facts:<kind>:<name>` | hash | run id → `epoch priority`, where not both are 0 | as ready and delayed |
//! | `{tg:<ns>/<queue>}:v1:claims` | hash | run id → `epoch priority due` | as taken |
//! | `{tg:<ns>/<queue>}:v1:active` | set | `<kind>:<name>` that may have entries | until a take or forget finds none |
//! | `{tg:leases/<part>}:v1:expiry` | sorted set | run ids by the end of their lease in ms | while runs are held |
//! | `{tg:leases/<part>}:v1:holders` | hash | run id → epoch, namespace, worker: a line each | as expiry |
//! | `tg:v1:queues` | sorted set | `<ns>/<queue>` by last use in ms | an hour after the last use, for the gauges |
//! | `tg:v1:replicas` | sorted set | names of replicas by the end of what they announced in ms | until then |
//! | `tg:v1:serving:<replica>` | string | what its workers serve, see `codec` | as announced |
//! | `tg:v1:born_at` | string | µs since the Unix epoch | until all is lost |
//! | `tg:v1:hints` | channel | see `codec` | |
//!
//! task-queue owns all of them. Run ids are the 16 bytes of the UUID.

use tidegate_delivery::{Function, QueueId};
use tidegate_model::RunId;

/// How many parts the leases are split into, so that a cluster shares them. Changing it needs a new version
/// of the two keys.
pub(crate) const LEASE_PARTS: usize = 8;

/// Makes the names. Two deployments, or two tests, share a server under different prefixes.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

/// The names of one function in one queue, in the order in which scripts take them.
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

    pub(crate) fn lane(&self, queue: &QueueId, function: &Function) -> LaneKeys {
        let key = |part: &str| self.of_queue(queue, &format!("{part}:{function}"));
        LaneKeys { ready: key("ready"), delayed: key("delayed"), taken: key("taken"), facts: key("facts") }
    }

    pub(crate) fn claims(&self, queue: &QueueId) -> String {
        self.of_queue(queue, "claims")
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

    pub(crate) fn hints(&self) -> String {
        format!("{}:v1:hints", self.prefix)
    }
}

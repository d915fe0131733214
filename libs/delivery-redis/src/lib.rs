//! Delivery state in Redis, shared by any number of task-queue replicas.
//!
//! The key names are in `keys`, the scripts in `scripts/`. Each script touches keys of one slot only: those that
//! it gets as `KEYS`, and others of the same hash tag that it names itself. So the layout suits a Redis Cluster. Time: whether an entry is due is judged
//! by the caller's clock, claims and leases by the server's.
//!
//! A server that is full (`maxmemory`, `noeviction`) takes no new entries; everything else goes on. A connection to one that has
//! become a replica is left for where the address leads by then. A client speaks to one server: to a cluster of several nodes it
//! does not find its way.

mod answers;
mod codec;
mod connection;
mod delivery;
mod keys;
mod listener;
mod scripts;
mod workers;

pub use connection::RedisOptions;
pub use delivery::RedisDelivery;

//! The port's conformance suite on a Redis Cluster: a server in that mode refuses a script that touches keys of two slots.
//! It has all slots, so what a client does about several nodes is not shown.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod support;

use std::{
    process::{Child, Command, Stdio},
    sync::{Arc, Weak},
    time::Duration,
};

use tempfile::TempDir;
use tidegate_delivery::conformance::Fixture;
use tidegate_delivery_redis::{RedisDelivery, RedisOptions};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

const DEADLINE: Duration = Duration::from_secs(30);
const N_SLOTS: u32 = 16_384;

/// A node of a cluster that has no other; ends with the last test that uses it.
struct Node {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Node {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // It cannot know whether the port of the bus, by default 10,000 above, is free.
        let (port, bus_port) = (support::free_port(), support::free_port());
        let process = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--cluster-enabled",
                "yes",
            ])
            .args(["--cluster-port", &bus_port.to_string(), "--dir", folder.path().to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: integration-tests/run does it");
        let node = Self { process, url: format!("redis://127.0.0.1:{port}"), _folder: folder };
        let deadline = Instant::now() + DEADLINE;
        while let Err(error) = node.take_slots().await {
            assert!(Instant::now() < deadline, "the cluster does not come up: {error}");
            sleep(Duration::from_millis(50)).await;
        }
        node
    }

    /// Takes all slots, where that is still to be done. An error: it is not ready.
    async fn take_slots(&self) -> redis::RedisResult<()> {
        let mut connection = support::connect(&self.url).await?;
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await?;
        if info.contains("cluster_slots_assigned:0") {
            let all = redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(N_SLOTS - 1).to_owned();
            all.exec_async(&mut connection).await?;
        }
        // Refused until the node has seen that every slot is someone's.
        redis::cmd("EXISTS").arg("key").exec_async(&mut connection).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One node for all tests that run at a time: it takes some seconds to come up.
async fn node() -> Arc<Node> {
    static NODE: Mutex<Weak<Node>> = Mutex::const_new(Weak::new());
    let mut shared = NODE.lock().await;
    if let Some(node) = shared.upgrade() {
        return node;
    }
    let node = Arc::new(Node::start().await);
    *shared = Arc::downgrade(&node);
    node
}

async fn fixture() -> Fixture {
    let node = node().await;
    let options = RedisOptions { url: node.url.clone(), ..support::options() };
    let delivery = RedisDelivery::connect(&options).await.expect("connect to the node");
    let other = RedisDelivery::connect(&options).await.expect("connect to the node");
    let (wiped, measured) = (options.clone(), options);
    let wipe = move || {
        let _node = &node; // for as long as the fixture is there
        Box::pin(support::wipe(wiped.clone())) as _
    };
    Fixture {
        delivery: Arc::new(delivery),
        other: Arc::new(other),
        wipe: Box::new(wipe),
        footprint: Box::new(move || Box::pin(support::footprint(measured.clone()))),
    }
}

tidegate_delivery::conformance!(fixture);

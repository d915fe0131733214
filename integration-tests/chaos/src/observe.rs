//! What can be seen from outside at the end: runs and histories through the public API, leftovers in Redis.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use tidegate_sdk::{
    Client,
    proto::{ListRunsRequest, Run, RunEvent},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::suite::{QUEUE, Suite};

const PAGE_SIZE: i32 = 1_000;
const HISTORIES_AT_ONCE: usize = 32;
/// Leases of ended runs are deleted with the report; those of lost ones end after their time.
const LEFTOVERS_PATIENCE: Duration = Duration::from_secs(30);

/// Waits until no run of the queue is under way, or the patience is at its end. What remains is for the judge.
pub(crate) async fn until_ended(client: &Client, patience: Duration) -> anyhow::Result<()> {
    let filter = format!(
        "queue = \"{QUEUE}\" AND (state = SCHEDULED OR state = PENDING OR state = RUNNING OR state = PAUSED \
         OR state = CANCELLING)"
    );
    let started = Instant::now();
    while started.elapsed() < patience {
        let request = ListRunsRequest { filter: filter.clone(), page_size: 1, ..Default::default() };
        if client
            .core()
            .list_runs(request)
            .await
            .context("look for runs that have not ended")?
            .runs
            .is_empty()
        {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// All runs of the queue, by id.
pub(crate) async fn runs(client: &Client) -> anyhow::Result<HashMap<String, Run>> {
    let mut runs = HashMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListRunsRequest {
            filter: format!("queue = \"{QUEUE}\""),
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let page = client.core().list_runs(request).await.context("list runs")?;
        runs.extend(page.runs.into_iter().map(|run| (run.id.clone(), run)));
        if page.next_page_token.is_empty() {
            return Ok(runs);
        }
        page_token = page.next_page_token;
    }
}

/// The history of each run.
pub(crate) async fn histories(
    client: &Client,
    run_ids: impl Iterator<Item = String>,
) -> anyhow::Result<HashMap<String, Vec<RunEvent>>> {
    let histories = futures::stream::iter(run_ids).map(|run_id| async {
        let history = client.core().history(&run_id).await.context("read a history")?;
        anyhow::Ok((run_id, history))
    });
    histories.buffer_unordered(HISTORIES_AT_ONCE).try_collect().await
}

/// What is left in Redis of runs, once it stays: each key with some of the run ids in it.
pub(crate) async fn leftovers(suite: &Suite) -> anyhow::Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let left = look_for_leftovers(suite).await.context("look into Redis")?;
        if left.is_empty() || started.elapsed() > LEFTOVERS_PATIENCE {
            return Ok(left);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn look_for_leftovers(suite: &Suite) -> anyhow::Result<Vec<String>> {
    const SORTED_SETS: [&str; 4] = [":v1:ready:", ":v1:delayed:", ":v1:taken:", ":v1:expiry"];
    const HASHES: [&str; 4] = [":v1:facts:", ":v1:claims", ":v1:holders", ":v1:hindrances"];
    let mut connection = suite.redis().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await?;
    let mut left = Vec::new();
    for key in keys {
        let members: Vec<Vec<u8>> = if SORTED_SETS.iter().any(|part| key.contains(part)) {
            redis::cmd("ZRANGE").arg(&key).arg(0).arg(9).query_async(&mut connection).await?
        } else if HASHES.iter().any(|part| key.contains(part)) {
            redis::cmd("HKEYS").arg(&key).query_async(&mut connection).await?
        } else {
            continue;
        };
        let ids: Vec<String> = members.iter().take(10).map(|member| run_id_of(member)).collect();
        left.push(format!("{key}: {}", ids.join(" ")));
    }
    Ok(left)
}

fn run_id_of(member: &[u8]) -> String {
    Uuid::from_slice(member)
        .map_or_else(|_| String::from_utf8_lossy(member).into_owned(), |id| id.to_string())
}

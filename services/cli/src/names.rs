//! Names of things: for shells that complete them, and for people who have mistyped one.

use std::{collections::BTreeSet, time::Duration};

use tidegate_sdk_core::{
    Client, Error,
    proto::{Artifact, ListArtifactsRequest, ListRunsRequest, Run},
};
use tokio::time::timeout;

use crate::{
    fault::Fault,
    output::{printable, state_text},
};

pub use tidegate_filter::nearest;

/// How many of those that there may be very many of, the newest first.
const MAX_LOOKED_AT: usize = 100;
/// How long a fault may wait for names that are like the one that is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names, each with what is said of it.
pub type Names = Vec<(String, String)>;

/// Runs by their ids, each with its name and state.
pub async fn runs(client: &Client) -> Result<Names, Error> {
    let told = |run: &Run| format!("{}  {}", printable(&run.name), state_text(run.state.as_ref()));
    Ok(newest_runs(client, "").await?.iter().map(|run| (run.id.clone(), told(run))).collect())
}

/// Flows that have run.
pub async fn flows(client: &Client) -> Result<Names, Error> {
    functions(client, "kind = FLOW").await
}

/// Tasks that have run.
pub async fn tasks(client: &Client) -> Result<Names, Error> {
    functions(client, "kind = TASK").await
}

async fn functions(client: &Client, filter: &str) -> Result<Names, Error> {
    let names: BTreeSet<String> =
        newest_runs(client, filter).await?.into_iter().map(|run| run.name).collect();
    Ok(names.into_iter().map(alone).collect())
}

async fn newest_runs(client: &Client, filter: &str) -> Result<Vec<Run>, Error> {
    let page_size = i32::try_from(MAX_LOOKED_AT).unwrap_or(i32::MAX);
    let request = ListRunsRequest { filter: filter.to_owned(), page_size, ..Default::default() };
    Ok(client.list_runs(request).await?.runs)
}

/// Deployments, as `flow/deployment`.
pub async fn deployments(client: &Client) -> Result<Names, Error> {
    Ok(client.deployments("").await?.into_iter().map(|it| alone(it.name)).collect())
}

/// Schedules of a deployment, each with what it is for.
pub async fn schedules_of(client: &Client, deployment: &str) -> Result<Names, Error> {
    let schedules = client.schedules(deployment).await?.into_iter();
    Ok(schedules.map(|it| (it.name, it.spec.unwrap_or_default().description)).collect())
}

/// Schedules with their deployments, as commands take both.
pub async fn schedules(client: &Client) -> Result<Names, Error> {
    let schedules = client.schedules("").await?.into_iter();
    Ok(schedules.map(|it| alone(format!("{} {}", it.deployment, it.name))).collect())
}

/// Queues.
pub async fn queues(client: &Client) -> Result<Names, Error> {
    Ok(client.queues().await?.into_iter().map(|it| alone(it.name)).collect())
}

/// Work pools.
pub async fn pools(client: &Client) -> Result<Names, Error> {
    let pools = client.work_pools().await?.into_iter();
    Ok(pools.map(|it| (it.name, it.spec.unwrap_or_default().description)).collect())
}

/// Live workers by their ids, each with its pool.
pub async fn workers(client: &Client) -> Result<Names, Error> {
    let workers = client.workers("").await?.into_iter().filter(|it| it.is_live);
    Ok(workers.map(|it| (it.id, it.work_pool)).collect())
}

/// Concurrency limits.
pub async fn limits(client: &Client) -> Result<Names, Error> {
    Ok(client.concurrency_limits().await?.into_iter().map(|it| alone(it.name)).collect())
}

/// Variables, each with its description.
pub async fn variables(client: &Client) -> Result<Names, Error> {
    Ok(client.variables("", "").await?.into_iter().map(|it| (it.name, it.description)).collect())
}

/// What variables are found by.
pub async fn variable_tags(client: &Client) -> Result<Names, Error> {
    let tags: BTreeSet<String> = client.variables("", "").await?.into_iter().flat_map(|it| it.tags).collect();
    Ok(tags.into_iter().map(alone).collect())
}

/// Automations, each with its description.
pub async fn automations(client: &Client) -> Result<Names, Error> {
    Ok(client.automations().await?.into_iter().map(|it| (it.name, it.description)).collect())
}

/// Artifacts by their keys, or by their ids where they have none.
pub async fn artifacts(client: &Client) -> Result<Names, Error> {
    let name = |it: Artifact| alone(if it.key.is_empty() { it.id } else { it.key });
    Ok(newest_artifacts(client, true).await?.into_iter().map(name).collect())
}

/// Keys of artifacts.
pub async fn artifact_keys(client: &Client) -> Result<Names, Error> {
    let with_key = newest_artifacts(client, true).await?.into_iter().filter(|it| !it.key.is_empty());
    Ok(with_key.map(|it| alone(it.key)).collect())
}

/// Artifacts by their ids, each with its key.
pub async fn artifact_ids(client: &Client) -> Result<Names, Error> {
    Ok(newest_artifacts(client, false).await?.into_iter().map(|it| (it.id, it.key)).collect())
}

async fn newest_artifacts(client: &Client, latest: bool) -> Result<Vec<Artifact>, Error> {
    let request = ListArtifactsRequest { latest, order_by: "id desc".to_owned(), ..Default::default() };
    client.artifacts(request, MAX_LOOKED_AT).await
}

/// Bulk operations by their ids.
pub async fn bulk_operations(client: &Client) -> Result<Names, Error> {
    Ok(client.bulk_operations(MAX_LOOKED_AT).await?.into_iter().map(|it| alone(it.id)).collect())
}

fn alone(name: String) -> (String, String) {
    (name, String::new())
}

/// What was found, or why not: where nothing has this name, with the one of `known` that was probably meant. `known` is asked
/// for then only, and what goes wrong with that is not told.
pub async fn found<T>(
    asked: Result<T, Error>,
    name: &str,
    known: impl Future<Output = Result<Names, Error>>,
) -> Result<T, Fault> {
    let error = match asked {
        Err(error) if error.is_not_found() => error,
        asked => return Ok(asked?),
    };
    let known = timeout(PATIENCE, known).await.ok().and_then(Result::ok).unwrap_or_default();
    match nearest(name, known.iter().map(|(known, _)| known.as_str())) {
        Some(near) => Err(Fault::missing(format!("{error}; did you mean `{near}`?"))),
        None => Err(error.into()),
    }
}

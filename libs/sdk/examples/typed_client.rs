//! A client alone: starts runs of functions that workers serve, with their types and by their names, and looks at
//! them.
//!
//! See `worker_with_hooks.rs`, which serves them.

use futures::StreamExt as _;
use serde_json::json;
use tidegate_sdk::{Client, flow, gather};

/// The signature is all that a caller needs. In a real project it stands in a crate that caller and worker share.
#[flow(queue = "prices")]
async fn price_basket(articles: Vec<String>) -> anyhow::Result<u64> {
    anyhow::bail!("{} articles are priced by a worker, not here", articles.len())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::shared()?;

    // With types: `total` is a u64.
    let run = price_basket(vec!["pen".into(), "paper".into()]).priority(10).delay().await?;
    println!("run {}: {}", run.id(), run.explain().await?.summary);
    let total = run.result().await?;
    println!("the basket costs {total}");

    // By name, as for a function in another language: parameters as an object with their names.
    let articles = [json!({"article": "pen"}), json!({"article": "ink"})];
    let prices = client.task("price_of").queue("prices").delay_many(&articles).await?;
    println!("{:?}", gather::<u64>(&prices).await?);

    for event in run.history().await? {
        println!("{}: {}", event.seq, event.state.unwrap_or_default().name);
    }
    let mut failed = client.runs("state = FAILED AND created_at > -1d");
    while let Some(run) = failed.next().await {
        let run = run?;
        println!("{} {} failed", run.name, run.id);
    }
    Ok(())
}

//! A flow that has many tasks at once, in its own process, and takes their results as they end.
//!
//! `tidegate dev`, and then `cargo run --example fan_out -p tidegate-sdk`.

use std::time::Duration;

use futures::StreamExt as _;
use tidegate_sdk::{Client, Context, Level, Map as _, as_completed, flow, task};

#[task(retries = 3, retry_delays = "100ms, 1s", timeout = "10s", tags("words"))]
async fn count_words(text: String) -> usize {
    text.split_whitespace().count()
}

/// At most 16 of the tasks execute at once.
#[flow(max_concurrency = 16)]
async fn count_all(ctx: Context, texts: Vec<String>) -> anyhow::Result<usize> {
    let mut counts = as_completed(count_words.map(texts));
    let mut total = 0;
    while let Some((place, count)) = counts.next().await {
        let count = count?;
        ctx.log(Level::Info, format!("text {place} has {count} words"));
        total += count;
    }
    Ok(total)
}

/// What this example does, with any server.
pub async fn run(client: &Client) -> anyhow::Result<usize> {
    let texts = (0..100).map(|n| "word ".repeat(n)).collect();
    Ok(count_all(texts).run_name("a hundred texts").with_client(client).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::shared()?;
    println!("{} words", run(&client).await?);
    client.close(Duration::from_secs(5)).await;
    Ok(())
}

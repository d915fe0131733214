//! A worker that serves a task and a flow until SIGTERM or Ctrl-C, and tells of their ends.
//!
//! `tidegate dev`, then `cargo run --example worker_with_hooks -p tidegate-sdk`, and in another shell
//! `cargo run --example typed_client -p tidegate-sdk`.

use tidegate_sdk::{Client, Context, Level, Worker, flow, proto::Failure, submit_all, task};

#[task(retries = 3, retry_delays = "1s, 10s", on_failure = tell_failure, cache_key = "price of {article}")]
async fn price_of(article: String) -> anyhow::Result<u64> {
    anyhow::ensure!(!article.is_empty(), "an article has a name");
    Ok(100 * article.len() as u64)
}

#[flow(on_completion = tell_total, on_failure = tell_failure)]
async fn price_basket(articles: Vec<String>) -> anyhow::Result<u64> {
    let mut total = 0;
    for price in submit_all(articles.into_iter().map(price_of)) {
        total += price.await?;
    }
    Ok(total)
}

async fn tell_total(ctx: Context, total: &u64) {
    ctx.log(Level::Info, format!("the basket costs {total}"));
}

async fn tell_failure(ctx: Context, failure: &Failure) {
    ctx.log(Level::Error, format!("no price for run {}: {}", ctx.run_id(), failure.message));
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let worker = Worker::builder(Client::shared()?)
        .function(price_of)
        .function(price_basket)
        .queues(["prices"])
        .build()?;
    println!("worker {} serves the queue `prices`", worker.id());
    worker.run_until_signal().await?;
    Ok(())
}

//! A flow that survives its process: delivered again, it finds the results of the calls that completed and goes on
//! where it was. Kill the worker with SIGKILL in the middle and start it again.
//!
//! `tidegate dev`, then `cargo run --example durable -p tidegate-sdk`, as often as you like.

use std::time::Duration;

use tidegate_sdk::{CancellationToken, Client, Context, Worker, flow, task};

#[task]
async fn reserve(order: u64) -> String {
    format!("reservation of order {order}")
}

#[task(retries = 5, retry_delays = "1s, 5s, 30s")]
async fn charge(order: u64, cents: u64) -> anyhow::Result<String> {
    tokio::time::sleep(Duration::from_secs(5)).await; // time to kill it
    Ok(format!("{cents} cents for order {order}"))
}

#[task]
async fn ship(order: u64) -> String {
    format!("parcel of order {order}")
}

/// Each step happens once, however often the flow is delivered.
#[flow(max_crashes = 10)]
async fn fulfil(ctx: Context, order: u64, cents: u64) -> anyhow::Result<Vec<String>> {
    println!("attempt {} of order {order}", ctx.attempt());
    let reserved = reserve(order).await?;
    let charged = charge(order, cents).await?;
    Ok(vec![reserved, charged, ship(order).await?])
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::shared()?;
    let worker = Worker::builder(client.clone()).function(fulfil).queues(["orders"]).build()?;
    let stop = CancellationToken::new();
    // One key, one run: a second start of this program finds the run of the first.
    let order = fulfil(7, 995).queue("orders").idempotency_key("order-7").delay().await?;
    println!("run {}", order.id());
    let fulfilled = async {
        let fulfilled = order.result().await;
        stop.cancel();
        fulfilled
    };
    let (worked, fulfilled) = tokio::join!(worker.run(stop.clone()), fulfilled);
    worked?;
    println!("{}", fulfilled?.join("\n"));
    client.close(Duration::from_secs(5)).await;
    Ok(())
}

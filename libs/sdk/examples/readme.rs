//! The sample of the project's README.md, which is all below this line.

use tidegate_sdk::{Client, Worker, task};

#[task(retries = 2)]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let handle = add(2, 3).delay().await?; // durable; `add(2, 3).await?` executes it here, as a recorded run
    println!("run {}", handle.id());
    Worker::builder(Client::shared()?).function(add).build()?.run_until_signal().await?;
    Ok(())
}

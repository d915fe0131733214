//! A flow and a task that this process executes itself; the server keeps what they did.
//!
//! `tidegate dev`, and then `cargo run --example hello -p tidegate-sdk`.

use std::time::Duration;

use tidegate_sdk::{Client, flow, task};

#[task(retries = 2, retry_delays = "1s")]
async fn greet(name: String) -> String {
    format!("Hello, {name}!")
}

#[flow]
async fn hello(names: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut greetings = Vec::new();
    for name in names {
        greetings.push(greet(name).await?);
    }
    Ok(greetings)
}

/// What this example does, with any server.
pub async fn run(client: &Client) -> anyhow::Result<Vec<String>> {
    Ok(hello(vec!["Ada".into(), "Grace".into()]).with_client(client).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::shared()?;
    println!("{}", run(&client).await?.join("\n"));
    client.close(Duration::from_secs(5)).await;
    Ok(())
}

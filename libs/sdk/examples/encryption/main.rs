//! Values that only the processes with the secret can read:
//!
//!     TIDEGATE_SECRET=$(openssl rand -hex 32) cargo run --example encryption

mod codec;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tidegate_sdk::{
    CancellationToken, Client, Context, Error, Worker,
    core::{Codecs, Options, PayloadCodec},
};

use codec::Encryption;

async fn greet(_: Context, name: String) -> Result<String, String> {
    Ok(format!("hello {name}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let secret = std::env::var("TIDEGATE_SECRET").context("set TIDEGATE_SECRET: openssl rand -hex 32")?;
    let encryption: Arc<dyn PayloadCodec> = Arc::new(Encryption::new(secret.as_bytes())?);
    let mut options = Options::from_env()?;
    options.codecs = Codecs::new([encryption])?;
    let client = Client::with_options(options)?;

    let stop = CancellationToken::new();
    let worker = Worker::builder(client.clone()).task("greet", greet).build()?;
    let calling = async {
        // The server, its database and the network see neither the name nor the greeting.
        let greeting: Result<String, Error> = match client.task("greet").delay("world").await {
            Ok(handle) => handle.result().await,
            Err(error) => Err(error),
        };
        stop.cancel();
        greeting
    };
    let (worked, greeting) = tokio::join!(worker.run(stop.clone()), calling);
    println!("{}", greeting?);
    worked?;
    client.close(Duration::from_secs(5)).await;
    Ok(())
}

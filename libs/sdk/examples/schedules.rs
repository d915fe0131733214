//! A flow that is deployed with schedules, and served.
//!
//! `tidegate dev` is the server; `tidegate schedule ls` shows what this has made.

use serde_json::json;
use tidegate_sdk::{
    Client, Context, Level, Schedule, Worker, flow,
    proto::{CatchUpPolicy, DeploymentSpec, OverlapPolicy},
};

#[flow]
async fn report(context: Context, region: String) -> String {
    context.log(Level::Info, format!("the report of {region}"));
    region
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::shared()?;
    let nightly = Schedule::cron("0 3 * * 1-5")
        .named("nightly")
        .time_zone("Europe/Berlin")
        .catch_up(CatchUpPolicy::Latest)
        .overlap(OverlapPolicy::Skip)
        .parameters(&json!({"region": "eu"}))?;
    for fire in client.preview(&nightly, None, 3).await? {
        println!("will fire at {}", fire.fire_at.unwrap_or_default());
    }
    client.deploy("report/daily", DeploymentSpec::default()).await?;
    // Doing this again changes nothing; a schedule that is not in the list is deleted.
    client.put_schedules("report/daily", [nightly], true).await?;

    Worker::builder(client).function(report).build()?.run_until_signal().await?;
    Ok(())
}

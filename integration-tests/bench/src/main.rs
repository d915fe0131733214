//! Load drivers: one bench per hop, each beside a bound that is measured in the same minute, because a number from a
//! machine with other work means nothing alone.
//!
//! `integration-tests/run bench [NAME…]` starts a Postgres with durable settings and runs them. A bench is a module of
//! `benches` and a line in its table. It prints a [`report::Table`]; it asserts nothing about time.

mod benches;
mod bound;
mod database;
mod engine;
mod facts;
mod latencies;
mod load;
mod pairs;
mod report;
mod settings;

use clap::Parser as _;
use settings::Settings;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    println!("{}", facts::machine());
    for bench in benches::chosen(&settings.names)? {
        println!("\n== {}: {}", bench.name, bench.about);
        (bench.run)(settings.clone()).await?;
    }
    Ok(())
}

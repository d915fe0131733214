//! What a number is worth nothing without: commit, hardware, settings, command.

use std::process::Command;

use anyhow::Context as _;
use sqlx::{PgConnection, Row as _};

/// Commit, machine and command, in lines.
pub(crate) fn machine() -> String {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let is_changed = !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let profile = if cfg!(debug_assertions) { "unoptimised build" } else { "optimised build" };
    let n_cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |f| f.1);
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "commit    {commit}{}, {profile}\nmachine   {n_cores} cores, {cpu}, {}\ncommand   tidegate-bench {}",
        if is_changed { " with changes" } else { "" },
        output("uname", &["-sr"]),
        args.join(" "),
    )
}

/// What a program says, or nothing: a bench needs no git.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The settings of a Postgres server that decide what a commit costs.
pub(crate) async fn postgres(connection: &mut PgConnection) -> anyhow::Result<String> {
    let rows = sqlx::query(
        "SELECT name, current_setting(name) FROM pg_settings
         WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'shared_buffers',
                        'max_wal_size', 'server_version', 'autovacuum')
         ORDER BY name <> 'server_version', name",
    )
    .fetch_all(connection)
    .await
    .context("ask the server for its settings")?;
    let settings: Vec<String> = rows
        .iter()
        .map(|row| anyhow::Ok(format!("{}={}", row.try_get::<&str, _>(0)?, row.try_get::<&str, _>(1)?)))
        .collect::<Result<_, _>>()?;
    Ok(format!("postgres  {}", settings.join(" ")))
}

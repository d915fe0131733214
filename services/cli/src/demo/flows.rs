//! The work of the demo, as a user would write it: a flow, its subflow, and a task.

use std::{path::Path, sync::Arc};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tidegate_sdk::{Context, Level, gather};
use tokio::sync::Semaphore;

use super::{
    facts::{self, FileOutcome, FolderFacts, Inventory},
    path::PathText,
    walk,
};

/// The flow's name.
pub const INVENTORY: &str = "inventory";
/// The subflow's name.
pub const FOLDER: &str = "inventory_folder";
/// The task's name.
pub const FILE: &str = "file_facts";

/// Times a task or flow is delivered again after crashes before it counts as poisonous. The demo kills one worker.
const MAX_CRASHES: u32 = 10;

/// What the inventory is taken of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    root: PathText,
}

impl Root {
    /// The files below `root`, an absolute path.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }
}

/// A top-level folder below it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Folder {
    root: PathText,
    folder: PathText,
}

/// A file below it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    root: PathText,
    path: PathText,
}

/// The flow: a subflow per top-level folder, all at once; the sum of what they find.
pub async fn inventory(ctx: Context, params: Root) -> anyhow::Result<Inventory> {
    let root = params.root.to_path();
    let names = tokio::task::spawn_blocking(move || walk::folders(&root)).await??;
    ctx.log(Level::Info, format!("{} has {} folders", params.root, names.len()));
    let starts = names.iter().map(|name| {
        let folder = Folder { root: params.root.clone(), folder: name.as_path().into() };
        let call = ctx.flow(FOLDER).queue(ctx.queue()).max_crashes(MAX_CRASHES);
        // The folder is the key: an attempt after a crash finds the subflows of the one before.
        let call =
            call.idempotency_key(format!("folder:{}", folder.folder)).run_name(folder.folder.to_string());
        async move { call.delay(&folder).await }
    });
    let handles = try_join_all(starts).await?;
    Ok(Inventory::of(gather(&handles).await?))
}

/// The subflow: a task per file, all at once; the sum of what they find.
pub async fn inventory_folder(ctx: Context, params: Folder) -> anyhow::Result<FolderFacts> {
    let (root, folder) = (params.root.to_path(), params.folder.to_path());
    let paths = tokio::task::spawn_blocking(move || walk::files(&root, &folder)).await?;
    let files: Vec<_> =
        paths.iter().map(|path| File { root: params.root.clone(), path: path.as_path().into() }).collect();
    ctx.log(Level::Info, format!("{} has {} files", params.folder, files.len()));
    let call = ctx.task(FILE).queue(ctx.queue()).max_crashes(MAX_CRASHES);
    let handles = call.delay_many(&files).await?;
    let outcomes: Vec<FileOutcome> = gather(&handles).await?;
    Ok(FolderFacts::of(params.folder, outcomes))
}

/// The task: reads one file. A file that cannot be read is a finding, not a failure.
pub async fn file_facts(ctx: Context, params: File, readers: Arc<Semaphore>) -> anyhow::Result<FileOutcome> {
    // Hashing is work for a processor: no more at once than there are.
    let _permit = readers.acquire_owned().await?;
    let File { root, path } = params;
    let found = tokio::task::spawn_blocking(move || {
        let opened = std::fs::File::open(root.to_path().join(path.to_path()));
        match opened.and_then(|file| facts::read(path.clone(), file)) {
            Ok(facts) => FileOutcome::Read(facts),
            Err(error) => FileOutcome::Unreadable(path, error.to_string()),
        }
    });
    let outcome = found.await?;
    match &outcome {
        FileOutcome::Read(facts) => {
            ctx.log(Level::Info, format!("{}: {} bytes, {} lines", facts.path, facts.bytes, facts.lines));
        }
        FileOutcome::Unreadable(path, why) => ctx.log(Level::Warn, format!("{path}: {why}")),
    }
    Ok(outcome)
}

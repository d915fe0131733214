use std::pin::pin;

use futures::StreamExt as _;
use tidegate_sdk_core::{
    Client,
    proto::{self, LogEntry, QueryLogsRequest, TailLogsRequest},
};

use super::{args::LogLevel, check_id};
use crate::{
    ask::{DONE, Outcome},
    fault::Fault,
    output::{log_json, log_line},
    printer::{Printer, enough},
};

const PAGE_SIZE: u32 = 1_000;

/// Which lines.
pub struct Wanted {
    pub id: String,
    pub tree: bool,
    pub level: Option<LogLevel>,
    pub contains: String,
}

impl Wanted {
    /// `run_id` and `root_run_id` of a request: one of them.
    fn ids(&self) -> (String, String) {
        if self.tree { (String::new(), self.id.clone()) } else { (self.id.clone(), String::new()) }
    }

    fn min_level(&self) -> i32 {
        let level = self.level.map_or(proto::LogLevel::Unspecified, |level| match level {
            LogLevel::Trace => proto::LogLevel::Trace,
            LogLevel::Debug => proto::LogLevel::Debug,
            LogLevel::Info => proto::LogLevel::Info,
            LogLevel::Warn => proto::LogLevel::Warn,
            LogLevel::Error => proto::LogLevel::Error,
            LogLevel::Fatal => proto::LogLevel::Fatal,
        });
        level.into()
    }
}

/// `run logs`: what is stored.
pub async fn query(client: &Client, printer: &Printer, wanted: Wanted, limit: u32) -> Outcome {
    check_run(client, &wanted).await?;
    let (run_id, root_run_id) = wanted.ids();
    let mut n_wanted = limit;
    let mut page_token = String::new();
    loop {
        let request = QueryLogsRequest {
            run_id: run_id.clone(),
            root_run_id: root_run_id.clone(),
            min_level: wanted.min_level(),
            contains: wanted.contains.clone(),
            page_size: i32::try_from(n_wanted.min(PAGE_SIZE)).expect("a page size is at most 1,000"),
            page_token,
            ..Default::default()
        };
        let page = client.query_logs(request).await?;
        n_wanted = n_wanted.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        print(printer, &page.entries, wanted.tree)?;
        page_token = page.next_page_token;
        if page_token.is_empty() || n_wanted == 0 {
            break;
        }
    }
    if !page_token.is_empty() {
        eprintln!("there are more: --limit shows more of them");
    }
    DONE
}

/// `run logs --follow`: what is stored, then what comes, until Ctrl-C.
pub async fn follow(client: &Client, printer: &Printer, wanted: Wanted) -> Outcome {
    check_run(client, &wanted).await?;
    let (run_id, root_run_id) = wanted.ids();
    let request =
        TailLogsRequest { run_id, root_run_id, min_level: wanted.min_level(), ..Default::default() };
    let mut lines = pin!(client.tail_logs(request));
    let mut enough = pin!(enough());
    loop {
        tokio::select! {
            biased;
            () = &mut enough => return DONE,
            batch = lines.next() => match batch {
                Some(batch) => print(printer, &batch?.entries, wanted.tree)?,
                None => return DONE,
            },
        }
    }
}

/// A run without lines is well, one that does not exist is not; LogService cannot tell them apart.
async fn check_run(client: &Client, wanted: &Wanted) -> Result<(), Fault> {
    check_id(&wanted.id)?;
    let run = client.peek_run(&wanted.id).await?;
    if wanted.tree && run.root_run_id != run.id {
        let root = run.root_run_id;
        return Err(Fault::usage(format!("--tree needs the uppermost run, which is {root}")));
    }
    Ok(())
}

fn print(printer: &Printer, entries: &[LogEntry], with_run: bool) -> Result<(), Fault> {
    for entry in entries {
        printer.line(|| log_json(entry), || log_line(entry, with_run))?;
    }
    Ok(())
}

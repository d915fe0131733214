//! Whether what waits has somebody who takes it.

use std::{future::Future, time::Duration};

use tidegate_sdk_core::{
    Client, Error,
    proto::{GetVersionResponse, Schedule},
};

use super::{CALL_DEADLINE, finding::Finding};
use crate::output::{duration_text, printable};

/// Queues, and work pools, that are looked at, each by a question of its own.
const MAX_QUEUES: usize = 100;
const MAX_POOLS: usize = 100;
/// A time of a schedule that came so long ago, and made no run, was looked at by nobody.
const MAX_LATENESS_SECONDS: i64 = 60;

/// An answer in time; `None`: what it was about is gone meanwhile.
async fn in_time<T>(question: impl Future<Output = Result<T, Error>>) -> Result<Option<T>, String> {
    match tokio::time::timeout(CALL_DEADLINE, question).await {
        Err(_) => Err(format!("no answer within {} s", CALL_DEADLINE.as_secs())),
        Ok(Err(error)) if error.is_not_found() => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(found)) => Ok(Some(found)),
    }
}

/// Whether each queue has somebody who takes what waits.
pub async fn queues(client: &Client) -> Vec<Finding> {
    let queues = match client.queues().await {
        Ok(queues) => queues,
        Err(error) => return vec![Finding::failed("queues", error.to_string(), "check the log of the api")],
    };
    let n_queues = queues.len();
    let mut findings = Vec::new();
    for queue in queues.iter().take(MAX_QUEUES) {
        let name = printable(&queue.name);
        let found = match in_time(client.get_queue(&queue.name)).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(cause) => {
                findings.push(Finding::failed(
                    "workers",
                    format!("queue {name}: {cause}"),
                    "check the log of the api",
                ));
                return findings;
            }
        };
        match found.workers {
            None => return findings, // what task-queue lacks is told above
            Some(workers) if workers.n_workers == 0 && found.waiting_runs > 0 => {
                let told =
                    format!("{} runs wait in queue {name}, which no worker serves", found.waiting_runs);
                findings.push(Finding::warning("workers", told, format!("start a worker for queue {name}")));
            }
            Some(_) => {}
        }
    }
    if findings.is_empty() {
        let told = match n_queues {
            0..=MAX_QUEUES => format!("{n_queues} queues, and none of them waits for a worker"),
            _ => format!("none of the first {MAX_QUEUES} of {n_queues} queues waits for a worker"),
        };
        findings.push(Finding::ok("workers", told));
    }
    findings
}

/// Whether each work pool has somebody who takes what waits.
pub async fn pools(client: &Client) -> Vec<Finding> {
    let pools = match client.work_pools().await {
        Ok(pools) => pools,
        Err(error) => return vec![Finding::failed("pools", error.to_string(), "check the log of the api")],
    };
    let (mut findings, mut told) = (Vec::new(), Vec::new());
    for pool in pools.iter().take(MAX_POOLS) {
        let name = printable(&pool.name);
        let found = match in_time(client.get_work_pool(&pool.name)).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(cause) => {
                findings.push(Finding::failed(
                    "pools",
                    format!("{name}: {cause}"),
                    "check the log of the api",
                ));
                return findings;
            }
        };
        match found.n_workers {
            Some(0) if found.waiting_runs > 0 => {
                let told = format!(
                    "{} runs wait for work pool {name}, which has no live worker",
                    found.waiting_runs
                );
                let mend = format!("`tidegate worker start --pool {name}`");
                findings.push(Finding::warning("pools", told, mend));
            }
            Some(n) => told.push(format!("{name} has {n} live workers")),
            None => told.push(format!("how many workers {name} has is not known")),
        }
    }
    if pools.len() > MAX_POOLS {
        told.push(format!("{} more were not looked at", pools.len() - MAX_POOLS));
    }
    if !told.is_empty() {
        findings.push(Finding::ok("pools", told.join(", ")));
    }
    findings
}

/// Whether somebody looks at the clock, by what it does. `is_asked`: the api knows its address, and has asked how it is.
pub async fn scheduler(client: &Client, version: &GetVersionResponse, is_asked: bool) -> Finding {
    let schedules = match client.schedules("").await {
        Ok(schedules) => schedules,
        Err(error) => return Finding::failed("scheduler", error.to_string(), "check the log of the api"),
    };
    let now = version.server_time.unwrap_or_default().seconds;
    let is_overdue = |schedule: &&Schedule| {
        schedule.next_fire_at.is_some_and(|next| now - next.seconds > MAX_LATENESS_SECONDS)
    };
    if schedules.iter().all(|schedule| schedule.next_fire_at.is_none()) {
        if is_asked {
            return Finding::ok("scheduler", "no schedule is to fire");
        }
        let told = "not known: no schedule is to fire, by which it could be seen";
        let mend = "tell the api where it is by `scheduler_address`: then it is asked";
        return Finding::warning("scheduler", told, mend);
    }
    match schedules.iter().find(is_overdue) {
        None => {
            Finding::ok("scheduler", format!("{} schedules, and none of them is overdue", schedules.len()))
        }
        Some(overdue) => {
            let late = now - overdue.next_fire_at.unwrap_or_default().seconds;
            let late = duration_text(Duration::from_secs(u64::try_from(late).unwrap_or(0)));
            let (deployment, name) = (printable(&overdue.deployment), printable(&overdue.name));
            let told = format!("schedule {name} of {deployment} should have fired {late} ago");
            Finding::failed(
                "scheduler",
                told,
                "start a scheduler, and check its log: nobody looks at the clock",
            )
        }
    }
}

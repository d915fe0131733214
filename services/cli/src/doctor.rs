//! `tidegate doctor`: is all well between here and the server, and what to do where it is not.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tidegate_sdk_core::{
    Client, Error, Options, new_run_id,
    proto::{GetVersionResponse, ListRunsRequest, QueryLogsRequest},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    ask::{Outcome, code},
    common::Common,
    config::Settings,
    fault::{Fault, exit},
    output::{Table, duration_text, printable},
    printer::Printer,
    run::now,
};

/// How long a connection may take, and the first answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How far the clocks may be apart before it is worth a word: due times and leases are judged by the server's.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 nothing has failed; 1 something has; 2 wrong usage.")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub common: Common,
}

/// What was found of one thing.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    told: String,
    /// What to do; empty where nothing is to be done.
    mend: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    fn ok(check: &'static str, told: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, told: told.into(), mend: String::new() }
    }

    fn warning(check: &'static str, told: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, told: told.into(), mend: mend.into() }
    }

    fn failed(check: &'static str, told: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, told: told.into(), mend: mend.into() }
    }
}

/// Looks, and tells.
pub fn main(args: DoctorArgs) -> ExitCode {
    code(run(&args.common))
}

fn run(common: &Common) -> Outcome {
    let settings = Settings::of(common)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut options = Options::new(&settings.address.value, &settings.namespace.value)?;
    (options.first_contact, options.call_deadline) = (PATIENCE, PATIENCE);
    let findings = runtime.block_on(look(options))?;
    let printer = Printer::new(settings.output.value, settings.color.value);
    printer.answer(|| findings.iter().map(finding_json).collect(), || findings_text(&findings))?;
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Ok(if has_failed { exit::ERROR } else { exit::OK })
}

async fn look(options: Options) -> Result<Vec<Finding>, Fault> {
    let address = options.address.clone();
    let mut findings = vec![reach("address", &address).await];
    let client = Client::new(options)?;
    let asked_at = Instant::now();
    let version = match client.version().await {
        Ok(version) => version,
        Err(error) => {
            let mend = "start one with `tidegate dev`, or name another with --address, TIDEGATE_ADDRESS or `tidegate \
                        config set address`";
            findings.push(Finding::failed("server", error.to_string(), mend));
            return Ok(findings); // nothing else could be asked
        }
    };
    findings.extend([version_finding(&version), clock(&version, asked_at.elapsed())]);
    findings.push(store(&client, &version).await);
    findings.extend(endpoints(&client, &address).await);
    findings.extend(queues(&client).await);
    Ok(findings)
}

/// Whether a name has addresses, and whether anything takes connections there.
async fn reach(check: &'static str, address: &str) -> Finding {
    let place = address.split_once("://").map_or(address, |(_, place)| place).trim_end_matches('/');
    let place = if place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        place.to_owned()
    } else {
        format!("{place}:80")
    };
    match timeout(PATIENCE, tokio::net::lookup_host(&place)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            let mend = "check the name, and the DNS of this machine";
            return Finding::failed(check, format!("{address} has no address: {error}"), mend);
        }
        Err(_) => {
            let mend = "check the DNS of this machine";
            return Finding::failed(check, format!("{address}: no answer of DNS within {PATIENCE:?}"), mend);
        }
    }
    let mend = "check that it runs, that the port is right, and that no firewall stands between";
    match timeout(PATIENCE, TcpStream::connect(&place)).await {
        Ok(Ok(_)) => Finding::ok(check, format!("{address} takes connections")),
        Ok(Err(error)) => Finding::failed(check, format!("{address} takes no connection: {error}"), mend),
        Err(_) => Finding::failed(check, format!("{address} takes no connection within {PATIENCE:?}"), mend),
    }
}

fn version_finding(version: &GetVersionResponse) -> Finding {
    let (server, client) = (&version.version, env!("CARGO_PKG_VERSION"));
    if server == client {
        return Finding::ok("server", format!("version {server}"));
    }
    let told = format!("the server is version {server}, this command {client}");
    Finding::warning("server", told, "have both the same, the server first")
}

/// How far the clocks are apart; the answer was made somewhere in the time that it took.
fn clock(version: &GetVersionResponse, took: Duration) -> Finding {
    let server = version.server_time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    let Some(server) = server else {
        return Finding::warning("clock", "the server does not tell its time", "update the server");
    };
    let difference = Duration::try_from(now().duration_since(server).abs()).unwrap_or(Duration::MAX);
    let told = format!("{} apart", duration_text(difference));
    if difference.saturating_sub(took) <= MAX_CLOCK_DIFFERENCE {
        return Finding::ok("clock", told);
    }
    let mend = "set both clocks by NTP: due times and leases are judged by the server's";
    Finding::warning("clock", told, mend)
}

async fn store(client: &Client, version: &GetVersionResponse) -> Finding {
    let request = ListRunsRequest { page_size: 1, ..Default::default() };
    match client.list_runs(request).await {
        Ok(_) => Finding::ok("store", format!("{}, schema {}", version.store, version.schema_version)),
        Err(error) => Finding::failed(
            "store",
            error.to_string(),
            format!("check that the api reaches {}", version.store),
        ),
    }
}

/// Where workers and log writers are sent, as seen from here.
async fn endpoints(client: &Client, address: &str) -> Vec<Finding> {
    let endpoints = match client.endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error) => {
            return vec![Finding::failed("endpoints", error.to_string(), "check the log of the api")];
        }
    };
    let advertised = |end: String| if end.is_empty() { address.to_owned() } else { end };
    let mut findings = Vec::new();
    for (check, end) in
        [("task-queue", endpoints.task_queue_address), ("log-ingest", endpoints.log_ingest_address)]
    {
        let mut finding = reach(check, &advertised(end)).await;
        if finding.verdict == Verdict::Failed {
            finding.mend = format!(
                "start {check}, or have the api advertise where it is: `[endpoints]` of its configuration"
            );
        } else if check == "log-ingest"
            && let Err(error) = logs(client).await
        {
            finding = Finding::failed(check, error.to_string(), "check that log-ingest reaches its store");
        }
        findings.push(finding);
    }
    findings
}

/// A whole round trip: of a run that is not, there are no lines.
async fn logs(client: &Client) -> Result<(), Error> {
    let request = QueryLogsRequest { run_id: new_run_id(), page_size: 1, ..Default::default() };
    client.query_logs(request).await.map(drop)
}

/// Whether what waits has somebody who takes it.
async fn queues(client: &Client) -> Vec<Finding> {
    let queues = match client.queues().await {
        Ok(queues) => queues,
        Err(error) => return vec![Finding::failed("queues", error.to_string(), "check the log of the api")],
    };
    let n_queues = queues.len();
    let mut findings = Vec::new();
    for queue in queues {
        let Ok(found) = client.get_queue(&queue.name).await else { continue }; // gone meanwhile
        let name = printable(&queue.name);
        match found.workers {
            None => {
                let mend =
                    "check that task-queue runs and reaches Redis, and that the api reaches task-queue";
                findings.push(Finding::failed("delivery", "task-queue does not answer the api", mend));
                return findings;
            }
            Some(workers) if workers.n_workers == 0 && found.waiting_runs > 0 => {
                let told =
                    format!("{} runs wait in queue {name}, which no worker serves", found.waiting_runs);
                findings.push(Finding::warning("workers", told, format!("start a worker for queue {name}")));
            }
            Some(_) => {}
        }
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok("workers", format!("{n_queues} queues, and none of them waits for a worker")));
    }
    findings
}

fn findings_text(findings: &[Finding]) -> String {
    let mut table = Table::new(&["", "CHECK", "FOUND", "MEND"]);
    for finding in findings {
        let cells = [finding.verdict.word(), finding.check, &finding.told, &finding.mend];
        table.row(cells.map(printable).to_vec());
    }
    table.text()
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "name": finding.check,
        "status": finding.verdict.word(),
        "message": finding.told,
        "mend": finding.mend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: &str, seconds_ago: i64) -> GetVersionResponse {
        let time = now().as_second() - seconds_ago;
        let server_time = Some(prost_types::Timestamp { seconds: time, nanos: 0 });
        GetVersionResponse { version: version.to_owned(), server_time, ..Default::default() }
    }

    #[test]
    fn a_clock_that_is_wrong_and_another_version_are_warnings() {
        assert_eq!(version_finding(&version("9.9.9", 0)).verdict, Verdict::Warning);
        assert_eq!(version_finding(&version(env!("CARGO_PKG_VERSION"), 0)).verdict, Verdict::Ok);
        for (seconds_ago, took, verdict) in [
            (0, 0, Verdict::Ok),
            (60, 0, Verdict::Warning),
            (-60, 0, Verdict::Warning),
            (60, 60, Verdict::Ok),
        ] {
            let found = clock(&version("", seconds_ago), Duration::from_secs(took));
            assert_eq!(found.verdict, verdict, "{seconds_ago} {took} {found:?}");
        }
    }

    #[tokio::test]
    async fn a_place_where_nobody_is_is_told_with_its_mend() {
        let port = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let found = reach("address", &format!("http://127.0.0.1:{port}")).await;
        assert_eq!(found.verdict, Verdict::Failed, "{found:?}");
        assert!(found.mend.contains("check that it runs"), "{found:?}");
        assert!(findings_text(&[found]).contains("\nfailed   address"));
    }
}

//! `tidegate doctor`: is all well between here and the server, and what to do where it is not.

mod finding;
mod server;
mod ways;
mod work;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use tidegate_sdk_core::{Client, Options};
use tokio::time::Instant;

use crate::{
    ask::{Outcome, code},
    common::Common,
    config::Settings,
    fault::{Fault, exit},
    printer::Printer,
};

use finding::{Finding, Verdict, finding_json, findings_text};
use server::{clock, dependencies, version_finding};
use ways::{endpoints, reach, unwell};
use work::{pools, queues, scheduler};

/// How long a connection may take, and the first answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long another answer may take: the server gives what it asks itself 6 s.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 nothing has failed; 1 something has; 2 wrong usage.")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub common: Common,
}

/// Looks, and tells.
pub fn main(args: DoctorArgs) -> ExitCode {
    code(run(&args.common))
}

fn run(common: &Common) -> Outcome {
    let settings = Settings::of(common)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut options = Options::new(&settings.address.value, &settings.namespace.value)?;
    (options.first_contact, options.call_deadline) = (PATIENCE, CALL_DEADLINE);
    let findings = runtime.block_on(look(options));
    // A question for a name that nobody answers would hold up the end.
    runtime.shutdown_background();
    let findings = findings?;
    let printer = Printer::new(settings.output.value, settings.color.value);
    printer.answer(|| findings.iter().map(finding_json).collect(), || findings_text(&findings))?;
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Ok(if has_failed { exit::ERROR } else { exit::OK })
}

async fn look(options: Options) -> Result<Vec<Finding>, Fault> {
    let address = options.address.clone();
    let mut findings = vec![reach("address", &address).await];
    if findings[0].verdict == Verdict::Ok
        && let Some(unwell) = unwell("address", &address).await
    {
        findings.push(unwell);
    }
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
    findings.extend(dependencies(&client, &version).await);
    findings.extend(endpoints(&client, &address).await);
    let is_failed = |finding: &Finding| finding.check == "api > store" && finding.verdict == Verdict::Failed;
    if findings.iter().any(is_failed) {
        let told = "not known: the store does not answer";
        findings.push(Finding::warning("workers", told, "mend what is above"));
        return Ok(findings); // each further question would wait for it in vain
    }
    findings.extend(queues(&client).await);
    findings.extend(pools(&client).await);
    let is_asked = findings.iter().any(|finding| finding.check == "api > scheduler");
    findings.push(scheduler(&client, &version, is_asked).await);
    Ok(findings)
}

//! The server: where it is, what it is, and what it is made of.

use std::time::Duration;

use tidegate_sdk_core::{
    Client,
    proto::{Dependency, DependencyState, GetDiagnosisResponse, GetVersionResponse},
};

use super::finding::Finding;
use crate::{output::duration_text, run::now};

/// How far the clocks may be apart before it is worth a word: due times and leases are judged by the server's.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// Whether both are of one version.
pub fn version_finding(version: &GetVersionResponse) -> Finding {
    let (server, client) = (&version.version, env!("CARGO_PKG_VERSION"));
    if server == client {
        return Finding::ok("server", format!("version {server}"));
    }
    let told = format!("the server is version {server}, this command {client}");
    Finding::warning("server", told, "have both the same, the server first")
}

/// How far the clocks are apart; the answer was made somewhere in the time that it took.
pub fn clock(version: &GetVersionResponse, took: Duration) -> Finding {
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

/// How the services find what they depend on.
pub async fn dependencies(client: &Client, version: &GetVersionResponse) -> Vec<Finding> {
    match client.diagnosis().await {
        Ok(diagnosis) => {
            let findings = diagnosis.dependencies.iter().map(|it| dependency(it, &version.store));
            findings.chain(schema(&diagnosis, version)).collect()
        }
        Err(error) => {
            let mend = "update the server, or check the log of the api";
            vec![Finding::failed("dependencies", error.to_string(), mend)]
        }
    }
}

/// `store` is what the api keeps runs in: `postgres` or `sqlite`.
fn dependency(found: &Dependency, store: &str) -> Finding {
    let (service, name) = (&found.service, &found.name);
    let check = format!("{service} > {name}");
    let mend = match (service.as_str(), name.as_str()) {
        (_, "store") => {
            format!("check that {store} runs, and that the api may use it: its log says what is wrong")
        }
        (_, "task-queue") => {
            "start task-queue, and check that `delivery_address` of the api leads to it".to_owned()
        }
        (_, "scheduler") => {
            "start a scheduler and check its log, and that `scheduler_address` of the api leads to it: until then no \
             schedule fires, and nothing is retried, late or cleared up"
                .to_owned()
        }
        (_, "delivery") => "check that Redis runs, and that `redis.url` of task-queue leads to it".to_owned(),
        _ => format!("check the log of {service}"),
    };
    match found.state() {
        DependencyState::Ok => {
            let took = found.took.and_then(|took| Duration::try_from(took).ok());
            let took = took.map_or_else(String::new, |took| format!(" within {}", duration_text(took)));
            let what = if name == "store" { store } else { "it" };
            Finding::ok(check, format!("{what} answers{took}"))
        }
        DependencyState::Failed => Finding::failed(check, &found.message, mend),
        DependencyState::Unknown | DependencyState::Unspecified => {
            let mend = match name.as_str() {
                "scheduler" => "have `scheduler_address` of the api lead to the scheduler itself",
                _ => "mend what is above",
            };
            Finding::warning(check, format!("not known: {}", found.message), mend)
        }
    }
}

/// Whether those that run know the schema that is there.
fn schema(diagnosis: &GetDiagnosisResponse, version: &GetVersionResponse) -> Option<Finding> {
    let (stored, known) = (diagnosis.stored_schema_version, version.schema_version);
    match stored {
        0 => None, // the store was told to be away
        _ if stored > known => {
            let told = format!("a newer service has migrated the store to {stored}; this api knows {known}");
            Some(Finding::warning(
                "schema",
                told,
                "update this api, too: it serves the newer schema meanwhile",
            ))
        }
        _ if stored < known => {
            let told = format!("the store has {stored}, and this api needs {known}");
            Some(Finding::failed("schema", told, "restart the api: it migrates the store when it starts"))
        }
        _ => Some(Finding::ok("schema", format!("{stored}, all migrations are done"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    fn version(version: &str, millis_ago: i64) -> GetVersionResponse {
        let time = now() - jiff::SignedDuration::from_millis(millis_ago);
        let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
        let server_time = Some(prost_types::Timestamp { seconds, nanos });
        GetVersionResponse { version: version.to_owned(), server_time, ..Default::default() }
    }

    #[test]
    fn a_clock_that_is_wrong_and_another_version_are_warnings() {
        for other in ["9.9.9", "0.0.1"] {
            let found = version_finding(&version(other, 0));
            assert_eq!(found.verdict, Verdict::Warning);
            assert!(found.told.contains(&format!("the server is version {other}")), "{found:?}");
        }
        assert_eq!(version_finding(&version(env!("CARGO_PKG_VERSION"), 0)).verdict, Verdict::Ok);
        for (millis_ago, took_seconds, verdict) in [
            (0, 0, Verdict::Ok),
            (1_500, 0, Verdict::Ok),
            (-1_500, 0, Verdict::Ok),
            (2_500, 0, Verdict::Warning),
            (-2_500, 0, Verdict::Warning),
            (60_000, 0, Verdict::Warning),
            // The answer may have been made at any moment of the time that it took.
            (60_000, 60, Verdict::Ok),
            (63_000, 60, Verdict::Warning),
        ] {
            let found = clock(&version("", millis_ago), Duration::from_secs(took_seconds));
            assert_eq!(found.verdict, verdict, "{millis_ago} {took_seconds} {found:?}");
        }
        let untold = clock(&GetVersionResponse::default(), Duration::ZERO);
        assert_eq!(untold.verdict, Verdict::Warning);
    }

    fn verdict_of(service: &str, name: &str, state: DependencyState) -> Finding {
        let mut found =
            Dependency { service: service.to_owned(), name: name.to_owned(), ..Default::default() };
        found.set_state(state);
        found.message = "connection refused".to_owned();
        dependency(&found, "postgres")
    }

    #[test]
    fn what_a_service_lacks_is_told_with_its_mend() {
        let store = verdict_of("api", "store", DependencyState::Failed);
        assert_eq!((store.check.as_str(), store.verdict), ("api > store", Verdict::Failed));
        assert!(store.mend.contains("check that postgres runs"), "{store:?}");
        let redis = verdict_of("task-queue", "delivery", DependencyState::Failed);
        assert!(redis.mend.contains("redis.url"), "{redis:?}");
        let scheduler = verdict_of("api", "scheduler", DependencyState::Failed);
        assert!(
            scheduler.mend.starts_with("start a scheduler") && scheduler.verdict == Verdict::Failed,
            "{scheduler:?}"
        );
        let unknown = verdict_of("task-queue", "delivery", DependencyState::Unknown);
        assert_eq!(unknown.verdict, Verdict::Warning);
        assert_eq!(verdict_of("api", "store", DependencyState::Ok).told, "postgres answers");
    }

    #[test]
    fn a_schema_that_is_not_the_known_one_is_told() {
        let schema = |stored_schema_version, schema_version| {
            let diagnosis = GetDiagnosisResponse { stored_schema_version, ..Default::default() };
            let version = GetVersionResponse { schema_version, ..Default::default() };
            schema(&diagnosis, &version).map(|finding| finding.verdict)
        };
        assert_eq!(schema(7, 7), Some(Verdict::Ok));
        assert_eq!(schema(8, 7), Some(Verdict::Warning));
        assert_eq!(schema(6, 7), Some(Verdict::Failed));
        assert_eq!(schema(0, 7), None);
    }
}

//! The ways from here to the server, and to where it sends workers and log writers.

use tidegate_sdk_core::{Client, Error, new_run_id, proto::QueryLogsRequest};
use tidegate_service_kit::{Health, channel, health};
use tokio::{net::TcpStream, time::timeout};

use super::{
    PATIENCE,
    finding::{Finding, Verdict},
};

/// Whether a name has addresses, and whether anything takes connections there.
pub async fn reach(check: &str, address: &str) -> Finding {
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

/// What is wrong with whoever takes connections there, by what it says itself. `None`: nothing, or it does not speak of it,
/// as a proxy may not.
pub async fn unwell(check: &str, address: &str) -> Option<Finding> {
    let channel = channel(address).ok()?;
    let mend = "wait until it is up; where it stays so, its log tells which of its tasks has failed, and a restart begins \
                them anew";
    match health(channel, PATIENCE).await {
        Health::Serving | Health::Unknown(_) => None,
        Health::NotServing => {
            Some(Finding::failed(check, format!("{address} says that it is not ready to serve"), mend))
        }
        Health::Silent(cause) => {
            let told = format!("{address} takes connections, and does not say how it is: {cause}");
            Some(Finding::failed(check, told, "check that it is a service of Tidegate, and whether it hangs"))
        }
    }
}

/// Where workers and log writers are sent, as seen from here.
pub async fn endpoints(client: &Client, address: &str) -> Vec<Finding> {
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
        let end = advertised(end);
        let mut finding = reach(check, &end).await;
        if finding.verdict == Verdict::Failed {
            finding.mend = format!(
                "start {check}, or have the api advertise where it is: `[endpoints]` of its configuration"
            );
        } else if let Some(unwell) = unwell(check, &end).await {
            finding = unwell;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::findings_text;

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

    #[tokio::test]
    async fn somebody_who_takes_connections_and_says_nothing_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        // It hangs up on everybody.
        let hang_up = async {
            loop {
                drop(listener.accept().await);
            }
        };
        let found = tokio::select! {
            found = unwell("task-queue", &address) => found.expect("is unwell"),
            () = hang_up => unreachable!("goes on"),
        };
        assert_eq!(found.verdict, Verdict::Failed, "{found:?}");
        assert!(found.told.contains("does not say how it is"), "{found:?}");
    }
}

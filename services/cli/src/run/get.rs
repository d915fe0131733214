use std::time::Duration;

use tidegate_sdk_core::{
    Client,
    proto::{Payload, Run},
};
use tokio::time::timeout;

use super::{check_id, now};
use crate::{
    ask::Outcome,
    common::Watch,
    fault::Fault,
    output::{event_json, run_detail, run_json},
    printer::Printer,
};

/// The largest value that is fetched from object storage without being asked for.
const MAX_FETCHED: u64 = 1 << 20;
/// How long such a value is waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// `run get`: the run in full, with its history.
pub async fn get(client: &Client, printer: &Printer, id: &str, full: bool, watch: Watch) -> Outcome {
    check_id(id)?;
    printer.show(watch, async || shown(client, printer, client.peek_run(id).await?, full).await).await
}

/// A run with its history, and what can be had of its values.
pub async fn shown(client: &Client, printer: &Printer, mut run: Run, full: bool) -> Result<String, Fault> {
    fetch(client, run.parameters.as_mut(), full).await?;
    fetch(client, run.result.as_mut(), full).await?;
    let history = client.history(&run.id).await?;
    let value = || {
        let mut value = run_json(&run);
        value["history"] = history.iter().map(event_json).collect();
        value
    };
    Ok(printer.render(value, || run_detail(&run, &history, now())))
}

/// Puts a value in the place of its reference: with `full` any, else a small one that is at hand. A run can be shown
/// where object storage is away.
pub async fn fetch(client: &Client, payload: Option<&mut Payload>, full: bool) -> Result<(), Fault> {
    let Some(payload) = payload else { return Ok(()) };
    let Some(reference) = payload.reference.clone() else { return Ok(()) };
    if full {
        return Ok(client.resolve(payload).await?);
    }
    if reference.size_bytes > MAX_FETCHED {
        return Ok(());
    }
    let cause = match timeout(FETCH_TIMEOUT, client.resolve(payload)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {FETCH_TIMEOUT:?}"),
    };
    eprintln!(
        "tidegate: value {} is shown as its reference, as it cannot be had: {cause}",
        reference.object_id
    );
    Ok(())
}

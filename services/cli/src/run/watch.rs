use std::pin::pin;

use futures::StreamExt as _;
use tidegate_sdk_core::{
    Client,
    proto::{StateType, WatchRunsRequest},
};

use super::check_id;
use crate::{
    ask::Outcome,
    fault::exit,
    output::{event_json, event_line},
    printer::Printer,
};

/// `run watch`: each run's events from its first, until all have ended.
pub async fn watch(client: &Client, printer: &Printer, ids: Vec<String>) -> Outcome {
    for id in &ids {
        check_id(id)?;
        client.peek_run(id).await?; // so that an unknown run is an answer, not a wait without end
    }
    follow(client, printer, ids).await
}

/// The events of runs that are there, from the first, until all have ended; the exit code tells whether they completed.
pub async fn follow(client: &Client, printer: &Printer, ids: Vec<String>) -> Outcome {
    let request =
        WatchRunsRequest { run_ids: ids, from_start: true, until_ended: true, ..WatchRunsRequest::default() };
    let mut events = pin!(client.watch(request));
    let mut code = exit::OK;
    while let Some(batch) = events.next().await {
        for event in batch?.events {
            printer.line(|| event_json(&event), || event_line(&event))?;
            let state = event.state.as_ref().map(|state| state.r#type());
            if event.ended && state != Some(StateType::Completed) {
                code = exit::NOT_COMPLETED;
            }
        }
    }
    Ok(code)
}

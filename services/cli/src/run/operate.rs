use std::{io::IsTerminal as _, time::Duration};

use serde_json::{Value, json};
use tidegate_sdk_core::{
    Client, payload,
    proto::{
        self, BulkAction, BulkOperation, BulkOperationState, StartBulkOperationRequest,
        start_bulk_operation_request::Target,
    },
};

use super::{args::Targets, check_id};
use crate::{
    ask::{DONE, Outcome},
    confirm::is_confirmed,
    fault::Fault,
    output::{bulk_json, bulk_text, progress_text, run_json, state_text},
    printer::Printer,
};

/// How often it is asked how far an operation has come.
const POLL: Duration = Duration::from_millis(300);

/// What is to be done to runs.
#[derive(Clone, Debug)]
pub enum Verb {
    /// They end.
    Cancel,
    /// They wait, at most so long.
    Pause(Option<Duration>),
    /// They go on, with this JSON, from the pause of this key.
    Resume { input: Option<String>, pause_key: String },
    /// They are tried again.
    Retry,
    /// They go.
    Delete,
}

impl Verb {
    const fn action(&self) -> BulkAction {
        match self {
            Self::Cancel => BulkAction::Cancel,
            Self::Pause(_) => BulkAction::Pause,
            Self::Resume { .. } => BulkAction::Resume,
            Self::Retry => BulkAction::Retry,
            Self::Delete => BulkAction::Delete,
        }
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause(_) => "pause",
            Self::Resume { .. } => "resume",
            Self::Retry => "retry",
            Self::Delete => "delete",
        }
    }
}

/// Does it to runs by their ids, to a tree, or to what matches a filter.
pub async fn operate(
    client: &Client,
    printer: &Printer,
    verb: &Verb,
    targets: Targets,
    reason: &str,
) -> Outcome {
    let target = match (targets.filter, targets.tree) {
        (Some(filter), _) => Target::Filter(filter),
        (None, Some(tree)) => {
            check_id(&tree)?;
            Target::TreeRunId(tree)
        }
        (None, None) => return each(client, printer, verb, &targets.ids, reason).await,
    };
    let mut request = StartBulkOperationRequest {
        action: verb.action().into(),
        target: Some(target),
        reason: reason.to_owned(),
        dry_run: true,
        ..StartBulkOperationRequest::default()
    };
    match verb {
        Verb::Pause(timeout) => request.pause_timeout = proto_duration(*timeout)?,
        Verb::Resume { input: Some(_), .. } => {
            return Err(Fault::usage("--input goes to one pause of one run: name runs by their ids"));
        }
        _ => {}
    }
    let counted = client.start_bulk_operation(request.clone()).await?;
    if targets.dry_run || counted.n_matched == 0 {
        return show(printer, &counted);
    }
    if !targets.yes {
        if !is_confirmed(&format!("{} {} runs", verb.as_str(), counted.n_matched))? {
            return Err(Fault::stopped("nothing was done"));
        }
        // What began to match while the question stood was not meant.
        request.expected_count = Some(counted.n_matched);
    }
    request.dry_run = false;
    let started = client.start_bulk_operation(request).await.map_err(|error| match error.reason() {
        "BULK_COUNT_MISMATCH" => Fault::stopped(format!(
            "nothing was done: by now it is {} runs, not {} as was asked; ask once more, or say --yes to take them however \
             many they are",
            error.metadata("count").unwrap_or("another number of"),
            counted.n_matched
        )),
        _ => error.into(),
    })?;
    let id = &started.id;
    eprintln!("bulk operation {id}: `tidegate bulk get {id}` shows it, `tidegate bulk cancel {id}` stops it");
    let ended = follow(client, started).await?;
    show(printer, &ended)?;
    judge(&ended)
}

/// One that somebody has stopped has not done what was asked.
fn judge(ended: &BulkOperation) -> Outcome {
    if ended.state() == BulkOperationState::Cancelled {
        let (id, done) = (&ended.id, progress_text(ended));
        return Err(Fault::stopped(format!("bulk operation {id} was stopped: {done}")));
    }
    DONE
}

/// Each by itself. The first fault ends it; what was done before is told all the same. That nobody reads any more (`| head`)
/// ends the telling alone.
async fn each(client: &Client, printer: &Printer, verb: &Verb, ids: &[String], reason: &str) -> Outcome {
    for id in ids {
        check_id(id)?;
    }
    let mut documents = Vec::new();
    let (mut outcome, mut told) = (DONE, DONE);
    for id in ids {
        let (document, line) = match one(client, verb, id, reason).await {
            Ok(done) => done,
            Err(fault) => {
                outcome = Err(fault);
                break;
            }
        };
        if printer.is_table() {
            told = told.and_then(|_| printer.write(&printer.render(|| Value::Null, || format!("{line}\n"))));
        } else {
            documents.push(document);
        }
    }
    let says_something = !documents.is_empty() || outcome.is_ok();
    if says_something && !printer.is_table() {
        printer.answer(|| Value::Array(documents), String::new)?;
    }
    outcome.and(told)
}

/// Does it to one run; what to tell programs and people of it.
async fn one(client: &Client, verb: &Verb, id: &str, reason: &str) -> Result<(Value, String), Fault> {
    Ok(match verb {
        Verb::Cancel => {
            let response = client.cancel_run(id, reason).await?;
            let (run, n_cancelled) = (response.run.unwrap_or_default(), response.n_cancelled);
            let state = state_text(run.state.as_ref());
            let line = format!("{id}  {state}  {n_cancelled} of its tree cancelled");
            (json!({ "run": run_json(&run), "n_cancelled": n_cancelled }), line)
        }
        Verb::Pause(timeout) => described(&client.pause_run(id, proto_duration(*timeout)?, reason).await?),
        Verb::Resume { input, pause_key } => {
            let input = input.clone().map(payload::json);
            described(&client.resume_run(id, pause_key, input).await?)
        }
        Verb::Retry => described(&client.retry_run(id, reason).await?),
        Verb::Delete => {
            client.delete_run(id).await?;
            (json!({ "deleted": id }), format!("{id}  deleted"))
        }
    })
}

fn described(run: &proto::Run) -> (Value, String) {
    (json!({ "run": run_json(run) }), format!("{}  {}", run.id, state_text(run.state.as_ref())))
}

fn show(printer: &Printer, operation: &BulkOperation) -> Outcome {
    printer.answer(|| bulk_json(operation), || bulk_text(operation))
}

/// Shows on stderr how far it has come, until it has ended.
async fn follow(client: &Client, mut operation: BulkOperation) -> Result<BulkOperation, Fault> {
    let is_terminal = std::io::stderr().is_terminal();
    while operation.state() == BulkOperationState::Running {
        if is_terminal {
            eprint!("\r{}", progress_text(&operation));
        }
        tokio::time::sleep(POLL).await;
        operation = client.bulk_operation(&operation.id).await?;
    }
    if is_terminal {
        eprintln!("\r{}", progress_text(&operation));
    }
    Ok(operation)
}

fn proto_duration(timeout: Option<Duration>) -> Result<Option<prost_types::Duration>, Fault> {
    let timeout = timeout.map(prost_types::Duration::try_from).transpose();
    timeout.map_err(|error| Fault::usage(format!("--timeout is too long: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_was_stopped_is_no_success() {
        let ended = |state: BulkOperationState| BulkOperation {
            id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".to_owned(),
            state: state.into(),
            n_matched: 12,
            n_done: 5,
            ..BulkOperation::default()
        };
        assert_eq!(judge(&ended(BulkOperationState::Completed)).unwrap(), crate::fault::exit::OK);
        let stopped = judge(&ended(BulkOperationState::Cancelled)).unwrap_err().to_string();
        assert!(stopped.ends_with("was stopped: 5 of 12 done, 0 skipped"), "{stopped}");
    }
}

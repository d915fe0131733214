use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_sdk_core::proto::{BulkAction, BulkOperation, BulkOperationState, bulk_operation::Target};

use super::{
    json::time_json,
    table::Table,
    text::{printable, time_text},
};

/// A bulk operation for people. One without an id was only counted.
pub fn bulk_text(operation: &BulkOperation) -> String {
    let n_matched = operation.n_matched;
    let action = action(operation);
    if operation.id.is_empty() {
        return format!("{action}: {n_matched} runs match\n");
    }
    let mut text = format!("{}  {action}  {}\n", operation.id, state(operation));
    let _ = writeln!(text, "{} of {n_matched} done", operation.n_done); // a String takes all
    for (reason, n_runs) in &operation.skipped {
        let _ = writeln!(text, "{n_runs} skipped: {reason}");
    }
    text
}

/// `bulk ls`.
pub fn bulk_table(operations: &[BulkOperation]) -> String {
    let mut table = Table::new(&["ID", "ACTION", "STATE", "DONE", "SKIPPED", "MATCHED", "CREATED", "TARGET"]);
    for operation in operations {
        let target = match &operation.target {
            Some(Target::Filter(filter)) => printable(filter),
            Some(Target::TreeRunId(tree)) => format!("tree {tree}"),
            None => String::new(),
        };
        table.row(vec![
            operation.id.clone(),
            action(operation).to_owned(),
            state(operation).to_owned(),
            operation.n_done.to_string(),
            operation.skipped.values().sum::<u64>().to_string(),
            operation.n_matched.to_string(),
            time_text(operation.created_at),
            target,
        ]);
    }
    table.text()
}

/// How far a bulk operation has come, in one line.
pub fn progress_text(operation: &BulkOperation) -> String {
    let n_skipped: u64 = operation.skipped.values().sum();
    format!("{} of {} done, {n_skipped} skipped", operation.n_done, operation.n_matched)
}

/// A bulk operation for programs.
pub fn bulk_json(operation: &BulkOperation) -> Value {
    let (filter, tree) = match &operation.target {
        Some(Target::Filter(filter)) => (Some(filter), None),
        Some(Target::TreeRunId(tree)) => (None, Some(tree)),
        None => (None, None),
    };
    json!({
        "id": (!operation.id.is_empty()).then_some(&operation.id),
        "action": action(operation),
        "filter": filter,
        "tree_run_id": tree,
        "state": (!operation.id.is_empty()).then(|| state(operation)),
        "n_matched": operation.n_matched,
        "n_done": operation.n_done,
        "skipped": operation.skipped,
        "reason": operation.reason,
        "actor": operation.actor,
        "created_at": time_json(operation.created_at),
        "ended_at": time_json(operation.ended_at),
    })
}

fn action(operation: &BulkOperation) -> &'static str {
    match operation.action() {
        BulkAction::Unspecified => "unknown",
        BulkAction::Cancel => "cancel",
        BulkAction::Pause => "pause",
        BulkAction::Resume => "resume",
        BulkAction::Retry => "retry",
        BulkAction::Delete => "delete",
    }
}

fn state(operation: &BulkOperation) -> &'static str {
    match operation.state() {
        BulkOperationState::Unspecified => "UNKNOWN",
        BulkOperationState::Running => "RUNNING",
        BulkOperationState::Completed => "COMPLETED",
        BulkOperationState::Cancelled => "CANCELLED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation() -> BulkOperation {
        BulkOperation {
            id: "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".into(),
            action: BulkAction::Pause.into(),
            target: Some(Target::Filter("name = \"etl\"".into())),
            state: BulkOperationState::Completed.into(),
            n_matched: 12,
            n_done: 9,
            created_at: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            skipped: [("LOCAL_RUN".to_owned(), 3)].into(),
            ..BulkOperation::default()
        }
    }

    #[test]
    fn an_operation_says_what_it_did_and_what_it_left() {
        insta::assert_snapshot!(bulk_text(&operation()), @r"
        0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b  pause  COMPLETED
        9 of 12 done
        3 skipped: LOCAL_RUN
        ");
        assert_eq!(progress_text(&operation()), "9 of 12 done, 3 skipped");
        insta::assert_snapshot!(bulk_json(&operation()), @r#"{"action":"pause","actor":"","created_at":"2027-01-15T08:00:00.000000Z","ended_at":null,"filter":"name = \"etl\"","id":"0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b","n_done":9,"n_matched":12,"reason":"","skipped":{"LOCAL_RUN":3},"state":"COMPLETED","tree_run_id":null}"#);
    }

    #[test]
    fn a_list_of_operations() {
        let tree = Some(Target::TreeRunId("0190b6a4-7d3c-7e1f-8a2b-000000000001".into()));
        let second = BulkOperation { target: tree, state: BulkOperationState::Running.into(), ..operation() };
        insta::assert_snapshot!(bulk_table(&[operation(), second]), @r#"
        ID                                     ACTION   STATE       DONE   SKIPPED   MATCHED   CREATED                    TARGET
        0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b   pause    COMPLETED   9      3         12        2027-01-15T08:00:00.000Z   name = "etl"
        0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b   pause    RUNNING     9      3         12        2027-01-15T08:00:00.000Z   tree 0190b6a4-7d3c-7e1f-8a2b-000000000001
        "#);
    }

    #[test]
    fn one_that_was_only_counted_says_how_many_it_would_be() {
        let counted = BulkOperation { id: String::new(), n_done: 0, skipped: [].into(), ..operation() };
        assert_eq!(bulk_text(&counted), "pause: 12 runs match\n");
        assert!(bulk_json(&counted)["state"].is_null());
    }
}

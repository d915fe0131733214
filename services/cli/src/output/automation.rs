use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use tidegate_proto::v1::{Automation, Firing, RunTrigger, Webhook, automation::Action};

use super::{
    json::{state_json, time_json},
    table::Table,
    text::{duration_text, printable, state_text, state_word, time_text},
    variable::short,
};

/// `automation ls`.
pub fn automation_table(automations: &[Automation]) -> String {
    let mut table = Table::new(&[
        "NAME",
        "ON",
        "FILTER",
        "WEBHOOK",
        "PAUSED",
        "SUCCEEDED",
        "GIVEN UP",
        "LAST SUCCESS",
        "DESCRIPTION",
    ]);
    for automation in automations {
        let trigger = automation.trigger.as_ref();
        table.row(vec![
            automation.name.clone(),
            trigger.map(states_text).unwrap_or_default(),
            trigger.map(|trigger| short(&trigger.filter)).unwrap_or_default(),
            webhook(automation).map_or_else(|| "-".to_owned(), |webhook| short(&webhook.url)),
            if automation.is_paused { "yes" } else { "-" }.to_owned(),
            automation.n_succeeded.to_string(),
            automation.n_given_up.to_string(),
            time_text(automation.last_succeeded_at),
            short(&automation.description),
        ]);
    }
    table.text()
}

/// `automation get`: the automation, and below it what is left out of a list, or cut there, and what went wrong.
pub fn automation_detail(automation: &Automation) -> String {
    let mut text = automation_table(std::slice::from_ref(automation));
    text.push('\n');
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:11} {}", printable(value)); // writing to a String cannot fail
        }
    };
    line("description", &automation.description);
    if let Some(trigger) = &automation.trigger {
        line("filter", &trigger.filter);
        line("attempts", if trigger.each_attempt { "the end of each sets it off" } else { "" });
    }
    if let Some(webhook) = webhook(automation) {
        line("webhook", &webhook.url);
        line("headers", &webhook.headers.keys().cloned().collect::<Vec<_>>().join(", "));
        line("signed", if webhook.signing_secret.is_empty() { "" } else { "yes" });
        line("timeout", &timeout(webhook).map(duration_text).unwrap_or_default());
    }
    line("last error", &automation.last_error);
    text
}

/// An automation for programs. Of its headers there are the names.
pub fn automation_json(automation: &Automation) -> Value {
    json!({
        "name": automation.name,
        "description": automation.description,
        "trigger": automation.trigger.as_ref().map(|trigger| json!({
            "states": trigger.states().map(state_word).collect::<Vec<_>>(),
            "state_names": trigger.state_names,
            "filter": trigger.filter,
            "each_attempt": trigger.each_attempt,
        })),
        "webhook": webhook(automation).map(|webhook| json!({
            "url": webhook.url,
            "headers": webhook.headers.keys().collect::<Vec<_>>(),
            "is_signed": !webhook.signing_secret.is_empty(),
            "timeout_seconds": timeout(webhook).map(|timeout| timeout.as_secs_f64()),
        })),
        "is_paused": automation.is_paused,
        "n_succeeded": automation.n_succeeded,
        "n_given_up": automation.n_given_up,
        "last_error": automation.last_error,
        "last_succeeded_at": time_json(automation.last_succeeded_at),
        "etag": automation.etag,
        "created_at": time_json(automation.created_at),
        "updated_at": time_json(automation.updated_at),
    })
}

/// `automation firings`.
pub fn firing_table(firings: &[Firing]) -> String {
    let mut table =
        Table::new(&["RUN", "EVENT", "STATE", "ENTERED", "TRIES", "NEXT TRY", "GIVEN UP", "LAST ERROR"]);
    for firing in firings {
        table.row(vec![
            firing.run_id.clone(),
            firing.event_seq.to_string(),
            state_text(firing.state.as_ref()),
            time_text(firing.state.as_ref().and_then(|state| state.occurred_at)),
            firing.n_tries.to_string(),
            time_text(firing.due_at),
            time_text(firing.given_up_at),
            printable(&firing.last_error),
        ]);
    }
    table.text()
}

/// A firing for programs.
pub fn firing_json(firing: &Firing) -> Value {
    json!({
        "run_id": firing.run_id,
        "event_seq": firing.event_seq,
        "state": firing.state.as_ref().map(state_json),
        "n_tries": firing.n_tries,
        "last_error": firing.last_error,
        "due_at": time_json(firing.due_at),
        "given_up_at": time_json(firing.given_up_at),
    })
}

/// What sets it off: `FAILED, CRASHED, Late`.
fn states_text(trigger: &RunTrigger) -> String {
    let states = trigger.states().map(|state| state_word(state).to_owned());
    states.chain(trigger.state_names.iter().map(|name| printable(name))).collect::<Vec<_>>().join(", ")
}

fn webhook(automation: &Automation) -> Option<&Webhook> {
    automation.action.as_ref().map(|Action::Webhook(webhook)| webhook)
}

fn timeout(webhook: &Webhook) -> Option<Duration> {
    webhook.timeout.and_then(|timeout| Duration::try_from(timeout).ok())
}

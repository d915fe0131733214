use std::{iter, time::Duration};

use tidegate_model::Timestamp;
use tidegate_orchestration::{Holder, Placement, Run, StateName, StateType};
use tidegate_store::EventRow;

use super::{Facts, KeyFacts, SlotFacts, Wait};
use crate::{DeliveryFacts, KeyScope, Standing};

/// The answer for people: how the run came here, and what it waits for.
pub(super) fn summary(facts: &Facts, waits: &[Wait]) -> String {
    let run = &facts.detail.run;
    let mut sentences = Vec::new();
    match run.state.state_type() {
        StateType::Scheduled => sentences.extend(how_it_was_scheduled(run)),
        StateType::Completed => sentences.push(completed(run)),
        StateType::Failed => sentences.push(failed(facts)),
        StateType::Crashed => sentences.push(crashed(run)),
        StateType::Cancelled => sentences.push(cancelled(facts)),
        StateType::Cancelling | StateType::Paused => sentences.push(asked(facts)),
        StateType::Pending | StateType::Running => {}
    }
    sentences.extend(waits.iter().map(|wait| sentence(facts, wait)));
    if run.state.state_type() == StateType::Running && run.crashes > 0 {
        sentences.push(format!(
            "Its process went away {} before; {} forgiven.",
            times(run.crashes),
            are_forgiven(run)
        ));
    }
    sentences.extend(facts.key.iter().map(|key| made_by(key, facts.now)));
    sentences.join(" ")
}

/// The key that made the run, and who else got it by that.
fn made_by(key: &KeyFacts, now: Timestamp) -> String {
    let KeyFacts { scope, key, n_answers, answered_at } = key;
    let scope = match scope {
        KeyScope::Deployment(deployment) => format!("of deployment `{deployment}`"),
        KeyScope::Parent(parent) => format!("of the children of run {parent}"),
        KeyScope::Schedule(schedule) => format!("of schedule {schedule}"),
        KeyScope::Function(kind, name) => format!("of {kind} `{name}`"),
    };
    let made = format!("It was made with the idempotency key `{key}` {scope}");
    let last = answered_at.map(|time| at(time, now)).unwrap_or_default();
    match n_answers {
        0 => format!("{made}."),
        1 => format!("{made}; a later call with that key, {last}, got this run instead of a new one."),
        n => format!(
            "{made}; {n} later calls with that key, the last {last}, got this run instead of a new one."
        ),
    }
}

/// What a limit has none of: when its rate allows a start, or who has its slots.
fn full_limit(limit: &SlotFacts, now: Timestamp) -> Option<String> {
    let name = bound_name(limit);
    let sentences = [spent_rate(limit, &name, now), taken_slots(limit, &name)];
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

fn bound_name(limit: &SlotFacts) -> String {
    match &limit.bound_by {
        Some(template) if *template != limit.name => format!("`{}` (by `{template}`)", limit.name),
        _ => format!("`{}`", limit.name),
    }
}

fn spent_rate(limit: &SlotFacts, name: &str, now: Timestamp) -> Option<String> {
    let (rate, free_at) = (limit.rate?, limit.next_token_at?);
    let starts = counted(u64::from(rate.max_starts.get()), "start");
    Some(format!("{name} allows {starts} in {}; the next one {}.", span(rate.period), at(free_at, now)))
}

fn taken_slots(limit: &SlotFacts, name: &str) -> Option<String> {
    let SlotFacts { max_slots, n_used, owners, .. } = limit;
    let max_slots = (*max_slots)?;
    if max_slots == 0 && owners.is_empty() {
        return Some(format!("{name} has no slots: raise it."));
    }
    if *n_used < u64::from(max_slots) {
        return None;
    }
    if owners.is_empty() {
        let slots = counted(u64::from(max_slots), "slot");
        return Some(format!("{name} has {slots}, taken by code outside of runs."));
    }
    let runs = owners.iter().map(|owner| format!("run {owner}")).collect::<Vec<_>>().join(", ");
    let more = if *n_used > owners.len() as u64 { " and others" } else { "" };
    Some(format!("{name} has {}, taken by {runs}{more}.", counted(u64::from(max_slots), "slot")))
}

fn sentence(facts: &Facts, wait: &Wait) -> String {
    let run = &facts.detail.run;
    let what = match &run.work_pool {
        Some(pool) => format!("work pool `{pool}`"),
        None => format!("{} `{}`", run.kind, run.name),
    };
    match wait {
        Wait::Time { until } if run.is_local() && *until <= facts.now => {
            format!(
                "Its next attempt was to begin {}: {}.",
                at(*until, facts.now),
                until_its_process_starts(run)
            )
        }
        Wait::Time { .. } if run.is_local() => {
            format!("It waits in {} for its next attempt, {}.", owner(run), at(run.due_at, facts.now))
        }
        Wait::Time { until } => format!("It is due {}.", at(*until, facts.now)),
        Wait::Queue { queue, pause } => {
            let by = by(pause.by.as_deref());
            let reason = match pause.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            let since = at(pause.at, facts.now);
            format!(
                "Queue `{queue}` was paused{by} {since}{reason}. None of its runs starts until it is resumed."
            )
        }
        Wait::WorkPool { work_pool, pause } => {
            let by = by(pause.by.as_deref());
            let reason = match pause.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            let since = at(pause.at, facts.now);
            format!(
                "Work pool `{work_pool}` was paused{by} {since}{reason}. None of its runs starts until it is resumed."
            )
        }
        Wait::Slot { limits } => {
            let names = limits.iter().map(|limit| format!("`{}`", limit.name)).collect::<Vec<_>>().join(", ");
            let needs = format!("It needs a free slot of each of the concurrency limits {names}.");
            iter::once(needs)
                .chain(limits.iter().filter_map(|limit| full_limit(limit, facts.now)))
                .collect::<Vec<_>>()
                .join(" ")
        }
        Wait::Handover { cause: Some(cause) } => {
            format!("It cannot be handed to a worker: {cause}. It will be as soon as task-queue answers.")
        }
        Wait::Handover { cause: None } => {
            "It is not with task-queue yet: the scheduler hands over what is due within seconds.".to_owned()
        }
        Wait::Worker { n_workers: 0, n_serving: 0, .. } if run.work_pool.is_some() => {
            let pool = run.work_pool.as_ref().map(ToString::to_string).unwrap_or_default();
            let mut start = format!("tidegate worker start --pool {pool}");
            for (key, value) in &run.required_labels {
                start.push_str(&format!(" --label {key}={value}"));
            }
            let queue = queue(run);
            format!(
                "Work pool `{pool}` has no live worker that serves its queue `{queue}`: start one with `{start}`."
            )
        }
        Wait::Worker { n_workers: 0, n_serving: 0, .. } => {
            let with_labels = match required(run) {
                labels if labels.is_empty() => String::new(),
                labels => format!(" with the labels {labels}"),
            };
            format!("No live worker serves {what} from queue `{}`: start one{with_labels}.", queue(run))
        }
        Wait::Worker { n_workers: 0, n_serving, .. } => format!(
            "It requires a worker with the labels {}, and of the {} that {} {what} from queue `{}` none has them: start \
             one that has.",
            required(run),
            counted(u64::from(*n_serving), "live worker"),
            if *n_serving == 1 { "serves" } else { "serve" },
            queue(run),
        ),
        Wait::Worker { n_ahead, n_workers, n_free_slots: 0, .. } => format!(
            "All slots of the {} that {} {what} from queue `{}` are taken; {} ahead of it.",
            counted(u64::from(*n_workers), "worker"),
            if *n_workers == 1 { "serves" } else { "serve" },
            queue(run),
            are(*n_ahead, "run"),
        ),
        Wait::Worker { n_ahead, n_workers, n_free_slots, .. } => format!(
            "It is about to be given to a worker: {} with {} for {what} in queue `{}`; {} ahead of it.",
            are(u64::from(*n_workers), "worker"),
            counted(u64::from(*n_free_slots), "free slot"),
            queue(run),
            are(*n_ahead, "run"),
        ),
        Wait::Start { holder, start_by: Some(start_by), hindrance } => format!(
            "{} got it {} and has not said yet that it starts; {} it goes back to its queue, at no cost.{}",
            capital(&name(holder)),
            at(run.state.at, facts.now),
            at(*start_by, facts.now),
            hindered(hindrance),
        ),
        Wait::Start { .. } => format!("{}.", capital(&until_its_process_starts(run))),
        Wait::Code { holder, deadline, hindrance, .. } => {
            let since = run.started_at.unwrap_or(run.state.at);
            let mut text =
                format!("Attempt {} runs in {} since {}.", run.attempt, name(holder), ago(since, facts.now));
            if let Some(deadline) = deadline {
                text.push_str(&format!(" It is stopped {} if it has not ended.", at(*deadline, facts.now)));
            }
            text.push_str(&hindered(hindrance));
            text.push_str(&lease(facts));
            text
        }
        Wait::Resume { holder, expires_at, .. } => {
            let place = match holder {
                Some(holder) => format!("Its code waits inside {}", name(holder)),
                None => "No worker is occupied by it".to_owned(),
            };
            let end = match expires_at {
                Some(expires_at) => format!("; {} it fails", at(*expires_at, facts.now)),
                None => String::new(),
            };
            format!("{place} until somebody resumes it{end}.")
        }
        Wait::Stop { holder, close_at } => format!(
            "{} has been told to stop it; {} it is closed in any case.",
            capital(&name(holder)),
            at(*close_at, facts.now)
        ),
    }
}

/// What keeps it from beginning.
fn hindered(hindrance: &str) -> String {
    match hindrance.trim_end_matches('.') {
        "" => String::new(),
        hindrance => format!(" Its job has not begun: {hindrance}."),
    }
}

/// What is known of the lease of a queued run that is held.
fn lease(facts: &Facts) -> String {
    match &facts.delivery {
        None => String::new(),
        Some(Ok(DeliveryFacts { standing: Standing::Leased { expires_in, .. }, .. })) => {
            format!(" If its worker stays silent for {} more, it counts as crashed.", span(*expires_in))
        }
        Some(Ok(_)) => {
            " Task-queue knows of no lease for it: unless its worker is heard soon, it counts as crashed."
                .to_owned()
        }
        Some(Err(error)) => format!(" Whether its worker is alive cannot be told: {error}."),
    }
}

/// Why it is not simply new.
fn how_it_was_scheduled(run: &Run) -> Option<String> {
    let how = match run.state.name {
        StateName::AwaitingRetry => "It is to be tried again",
        StateName::Rescheduled => "Its process went away",
        StateName::Released => "It came back to its queue",
        StateName::Resuming => "It was resumed",
        StateName::AwaitingConcurrencySlot => "It was to start and had to wait",
        StateName::Late => "It is late",
        _ => return None,
    };
    Some(with_message(how, run))
}

fn completed(run: &Run) -> String {
    if run.state.name == StateName::Cached {
        return with_message("It was not executed: an earlier result serves", run);
    }
    format!("It completed with attempt {}.", run.attempt)
}

fn failed(facts: &Facts) -> String {
    let run = &facts.detail.run;
    match run.state.name {
        StateName::UpstreamFailed => return with_message("It was not executed", run),
        StateName::PauseExpired => return with_message("Nobody resumed it in time", run),
        _ => {}
    }
    let how = with_message(&format!("Attempt {} failed", run.attempt), run);
    format!("{how} {}", why_no_retry(facts))
}

fn why_no_retry(facts: &Facts) -> String {
    let run = &facts.detail.run;
    let retry = &run.policies.retry;
    let Some(failure) = &facts.detail.failure else {
        return "It is not tried again.".to_owned();
    };
    if retry.max_retries == 0 {
        "No retries were asked for.".to_owned()
    } else if failure.non_retryable {
        "Its code said that another attempt cannot succeed, so it is not retried.".to_owned()
    } else if retry.never_retry_on.contains(&failure.error_type) {
        format!("Errors of type `{}` are in its `never_retry_on`, so it is not retried.", failure.error_type)
    } else if !retry.takes_type(&failure.error_type) {
        format!("Errors of type `{}` are not in its `retry_on`, so it is not retried.", failure.error_type)
    } else if retry.max_retries == 1 {
        "Its only retry is used up.".to_owned()
    } else {
        format!("All {} retries are used up.", retry.max_retries)
    }
}

fn crashed(run: &Run) -> String {
    let how = with_message("Its process went away", run);
    if run.is_local() {
        return format!("{how} A run inside another's process is not delivered again: its parent is.");
    }
    format!("{how} That happened {}; {} forgiven.", times(run.crashes), are_forgiven(run))
}

fn cancelled(facts: &Facts) -> String {
    let run = &facts.detail.run;
    if matches!(run.state.name, StateName::Expired | StateName::Skipped) {
        return with_message("It was given up before it started", run);
    }
    with_message(&format!("It was cancelled{}", by(requester(facts))), run)
}

/// For a run that somebody stopped or is stopping.
fn asked(facts: &Facts) -> String {
    let run = &facts.detail.run;
    let how = match (run.state.name, &run.pause_key) {
        (StateName::Cancelling, _) => format!("A cancel was asked{}", by(requester(facts))),
        (_, Some(key)) => return format!("Its code paused at `{key}`."),
        _ => format!("It was paused{}", by(requester(facts))),
    };
    with_message(&how, run)
}

/// Who brought the last state about.
fn requester(facts: &Facts) -> Option<&str> {
    facts.happenings.iter().rev().find_map(|event: &EventRow| event.actor.as_deref())
}

fn by(actor: Option<&str>) -> String {
    actor.map(|actor| format!(" by {actor}")).unwrap_or_default()
}

/// A sentence with the state's message as its cause.
fn with_message(how: &str, run: &Run) -> String {
    let message = run.state.message.trim_end_matches('.');
    if message.is_empty() { format!("{how}.") } else { format!("{how}: {message}.") }
}

fn are_forgiven(run: &Run) -> String {
    match run.policies.crash.max_crashes {
        0 => "none is".to_owned(),
        1 => "1 is".to_owned(),
        n => format!("{n} are"),
    }
}

fn queue(run: &Run) -> &str {
    match &run.placement {
        Placement::Queue(queue) => queue.as_str(),
        Placement::Session(_) => "",
    }
}

/// The labels that its worker must have.
fn required(run: &Run) -> String {
    let labels = run.required_labels.iter().map(|(key, value)| format!("`{key}={value}`"));
    labels.collect::<Vec<_>>().join(", ")
}

/// What a local run may wait for of which the server knows nothing: a process does not ask for the slots of all at once.
fn until_its_process_starts(run: &Run) -> String {
    format!("it waits for a free thread, or for slots of its concurrency limits, in {}", owner(run))
}

/// The process that executes a local run.
fn owner(run: &Run) -> String {
    match &run.placement {
        Placement::Session(session) => name(&Holder::Session(*session)),
        Placement::Queue(_) => "its worker".to_owned(),
    }
}

fn name(holder: &Holder) -> String {
    match holder {
        Holder::Worker(worker) => format!("worker `{worker}`"),
        Holder::Session(session) => format!("the process of session {session}"),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

fn counted(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn are(n: u64, noun: &str) -> String {
    match n {
        0 => format!("no {noun} is"),
        1 => format!("1 {noun} is"),
        n => format!("{n} {noun}s are"),
    }
}

/// An instant, with its distance from now.
fn at(time: Timestamp, now: Timestamp) -> String {
    if time > now {
        format!("at {time}, in {}", span(time.since(now)))
    } else {
        format!("at {time}, {} ago", span(now.since(time)))
    }
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{time}, for {}", span(now.since(time)))
}

/// A span as people say it: its two largest units.
fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    if span < Duration::from_secs(1) {
        return format!("{} ms", span.as_millis());
    }
    let mut left = span.as_secs();
    let mut parts = Vec::new();
    for (seconds, unit) in UNITS {
        let n_units = left / seconds;
        left %= seconds;
        if n_units > 0 && parts.len() < 2 {
            parts.push(format!("{n_units} {unit}"));
        }
    }
    parts.join(" ")
}

use std::time::Duration;

use tidegate_model::{RunKind, limits};
use tidegate_orchestration::{CrashPolicy, ParentPolicies, ParentPolicy, Policies, RetryPolicy};
use tidegate_proto::v1;

use crate::{Violations, duration_from_proto};

const DAY: Duration = Duration::from_secs(86_400);
/// When a flow that says nothing of it is called late.
const FLOW_LATE_AFTER: Duration = Duration::from_secs(15);

/// The rules of a run of this kind, with the defaults for what is unset.
pub(crate) fn parse_policies(
    kind: Option<RunKind>,
    policies: Option<&v1::Policies>,
    violations: &mut Violations,
) -> Policies {
    let late_after = (kind == Some(RunKind::Flow)).then_some(FLOW_LATE_AFTER);
    let default = Policies { late_after, ..Policies::default() };
    let Some(policies) = policies else { return default };
    Policies {
        retry: policies.retry.as_ref().map(|retry| parse_retry(retry, violations)).unwrap_or_default(),
        crash: policies
            .crash
            .as_ref()
            .and_then(|crash| crash.max_crashes)
            .map(|max_crashes| {
                if max_crashes > 1_000 {
                    violations.add("policies.crash.max_crashes", format!("{max_crashes} is above 1000"));
                }
                CrashPolicy { max_crashes }
            })
            .unwrap_or_default(),
        run_timeout: span(
            &policies.run_timeout,
            "policies.run_timeout",
            (Duration::from_millis(1), DAY * 365),
            violations,
        ),
        start_timeout: span(
            &policies.start_timeout,
            "policies.start_timeout",
            (Duration::from_secs(1), DAY / 24),
            violations,
        )
        .unwrap_or(default.start_timeout),
        cancel_grace: span(
            &policies.cancel_grace,
            "policies.cancel_grace",
            (Duration::ZERO, DAY / 24),
            violations,
        )
        .unwrap_or(default.cancel_grace),
        late_after: match policies.late_after {
            None => default.late_after,
            some => span(&some, "policies.late_after", (Duration::ZERO, DAY * 30), violations)
                .filter(|late_after| !late_after.is_zero()),
        },
        parent: parse_parent(policies),
    }
}

fn parse_parent(policies: &v1::Policies) -> ParentPolicies {
    let or = |policy: v1::ParentPolicy, default: ParentPolicy| match policy {
        v1::ParentPolicy::Unspecified => default,
        v1::ParentPolicy::Cancel => ParentPolicy::Cancel,
        v1::ParentPolicy::Detach => ParentPolicy::Detach,
    };
    let on_cancel = or(policies.parent(), ParentPolicy::default());
    ParentPolicies {
        on_cancel,
        on_failure: or(policies.parent_on_failure(), on_cancel),
        on_crash: or(policies.parent_on_crash(), on_cancel),
    }
}

fn parse_retry(retry: &v1::RetryPolicy, violations: &mut Violations) -> RetryPolicy {
    if retry.max_retries > 10_000 {
        violations.add("policies.retry.max_retries", format!("{} is above 10000", retry.max_retries));
    }
    violations.count("policies.retry.delays", retry.delays.len(), 100);
    for (field, error_types) in [
        ("policies.retry.retry_on", &retry.retry_on),
        ("policies.retry.never_retry_on", &retry.never_retry_on),
    ] {
        violations.count(field, error_types.len(), limits::MAX_ERROR_TYPES);
        for (idx, error_type) in error_types.iter().enumerate().take(limits::MAX_ERROR_TYPES) {
            violations.text(&format!("{field}[{idx}]"), error_type, 1, limits::MAX_ERROR_TYPE_SIZE);
        }
    }
    let bounds = (Duration::ZERO, DAY * 30);
    let delays = retry
        .delays
        .iter()
        .enumerate()
        .filter_map(|(delay_idx, delay)| {
            span(&Some(*delay), &format!("policies.retry.delays[{delay_idx}]"), bounds, violations)
        })
        .collect();
    if !(0.0..=10.0).contains(&retry.backoff_factor) {
        violations.add(
            "policies.retry.backoff_factor",
            format!("{} is out of the range 0 to 10", retry.backoff_factor),
        );
    }
    if !(0.0..=1.0).contains(&retry.jitter_factor) {
        violations.add(
            "policies.retry.jitter_factor",
            format!("{} is out of the range 0 to 1", retry.jitter_factor),
        );
    }
    RetryPolicy {
        max_retries: retry.max_retries,
        delays,
        backoff_factor: if retry.backoff_factor == 0.0 { 1.0 } else { retry.backoff_factor },
        max_delay: span(&retry.max_delay, "policies.retry.max_delay", bounds, violations)
            .unwrap_or(RetryPolicy::default().max_delay),
        jitter_factor: retry.jitter_factor,
        retry_on: retry.retry_on.clone(),
        never_retry_on: retry.never_retry_on.clone(),
    }
}

/// An optional span within bounds, both inclusive; one out of them is noted.
pub(crate) fn span(
    value: &Option<prost_types::Duration>,
    field: &str,
    (least, most): (Duration, Duration),
    violations: &mut Violations,
) -> Option<Duration> {
    let value = value.as_ref()?;
    let parsed = duration_from_proto(value).filter(|span| (least..=most).contains(span));
    if parsed.is_none() {
        violations.add(
            field,
            format!("{}.{:09} s is out of the range {least:?} to {most:?}", value.seconds, value.nanos),
        );
    }
    parsed
}

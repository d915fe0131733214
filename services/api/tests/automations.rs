//! `AutomationService` over gRPC.

mod common;

use common::{Api, fields, reason, task};
use tidegate_proto::v1::{self, automation::Action, set_automation_request};
use tonic::{Code, Status};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn webhook() -> v1::Webhook {
    v1::Webhook { url: "https://example.com/hook".to_owned(), ..Default::default() }
}

/// A webhook with these headers.
fn sending<const N: usize>(headers: [(&str, &str); N]) -> v1::Webhook {
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    v1::Webhook { headers, ..webhook() }
}

fn on(states: &[v1::StateType]) -> v1::RunTrigger {
    v1::RunTrigger { states: states.iter().map(|state| i32::from(*state)).collect(), ..Default::default() }
}

/// A trigger of states that are only named.
fn named(names: &[&str]) -> v1::RunTrigger {
    v1::RunTrigger { state_names: names.iter().map(ToString::to_string).collect(), ..Default::default() }
}

fn set_to(trigger: v1::RunTrigger, webhook: v1::Webhook) -> v1::SetAutomationRequest {
    v1::SetAutomationRequest {
        name: "page-me".to_owned(),
        trigger: Some(trigger),
        action: Some(set_automation_request::Action::Webhook(webhook)),
        ..Default::default()
    }
}

fn on_crash(webhook: v1::Webhook) -> v1::SetAutomationRequest {
    set_to(on(&[v1::StateType::Crashed]), webhook)
}

async fn set(api: &Api, request: v1::SetAutomationRequest) -> Result<v1::SetAutomationResponse, Status> {
    Ok(api.automations.clone().set_automation(request).await?.into_inner())
}

fn named_request(name: &str) -> v1::GetAutomationRequest {
    v1::GetAutomationRequest { name: name.to_owned(), ..Default::default() }
}

async fn get(api: &Api, name: &str) -> Result<v1::Automation, Status> {
    let response = api.automations.clone().get_automation(named_request(name)).await?;
    Ok(response.into_inner().automation.expect("is told"))
}

#[tokio::test]
async fn an_automation_is_set_read_changed_and_deleted() {
    let api = Api::start().await;
    let mut automations = api.automations.clone();
    let trigger = v1::RunTrigger {
        states: vec![v1::StateType::Crashed.into(), v1::StateType::Failed.into()],
        state_names: vec!["Late".to_owned()],
        filter: "tags:\"nightly\" AND created_at > -1h".to_owned(),
        each_attempt: true,
    };
    let full = v1::SetAutomationRequest {
        description: "wakes somebody".to_owned(),
        ..set_to(trigger.clone(), webhook())
    };
    let made = set(&api, full.clone()).await.expect("is set");
    let automation = made.automation.expect("is told");
    assert!(
        made.created && automation.created_at.is_some() && automation.created_at == automation.updated_at
    );
    assert_eq!(get(&api, "page-me").await.expect("is there"), automation);
    assert_eq!(automation.trigger, Some(trigger));
    let timeout = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    assert_eq!(automation.action, Some(Action::Webhook(v1::Webhook { timeout, ..webhook() })));
    let told = (automation.name.as_str(), automation.description.as_str(), automation.is_paused);
    assert_eq!(told, ("page-me", "wakes somebody", false));
    let record = (automation.n_succeeded, automation.n_given_up, automation.last_error.as_str());
    assert_eq!((record, automation.last_succeeded_at), ((0, 0, ""), None));

    let exists = set(&api, full.clone()).await.expect_err("is refused");
    assert_eq!((exists.code(), reason(&exists).as_str()), (Code::AlreadyExists, "AUTOMATION_EXISTS"));
    assert!(exists.message().contains("`page-me`"), "{}", exists.message());
    let etag = automation.etag.clone();
    let changed = set(&api, v1::SetAutomationRequest { etag: etag.clone(), ..on_crash(webhook()) }).await;
    assert!(!changed.expect("is set").created);
    let stale = set(&api, v1::SetAutomationRequest { etag: etag.clone(), ..full.clone() }).await;
    assert_eq!(reason(&stale.expect_err("is refused")), "ETAG_MISMATCH");
    set(&api, v1::SetAutomationRequest { overwrite: true, ..full }).await.expect("is set");

    let elsewhere = v1::GetAutomationRequest { namespace: "elsewhere".into(), ..named_request("page-me") };
    let missing = automations.get_automation(elsewhere).await.expect_err("is another tenant's");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "AUTOMATION_NOT_FOUND"));
    let stale = v1::DeleteAutomationRequest { name: "page-me".into(), etag, ..Default::default() };
    let refused = automations.delete_automation(stale.clone()).await.expect_err("is refused");
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    let delete = v1::DeleteAutomationRequest { etag: String::new(), ..stale };
    automations.delete_automation(delete.clone()).await.expect("is deleted");
    let gone = automations.delete_automation(delete.clone()).await.expect_err("is gone");
    assert_eq!(gone.code(), Code::NotFound);
    let allowed = v1::DeleteAutomationRequest { allow_missing: true, ..delete };
    automations.delete_automation(allowed).await.expect("that there is none is no error");
}

#[tokio::test]
async fn secrets_are_kept_and_not_given_back() {
    let api = Api::start().await;
    let secret = v1::Webhook {
        signing_secret: SECRET.to_owned(),
        timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..sending([("Authorization", "Bearer hunter2"), ("X-Team", "on call")])
    };
    let made = set(&api, on_crash(secret.clone())).await.expect("is set").automation.expect("is told");
    let headers = secret.headers.keys().map(|name| (name.clone(), String::new())).collect();
    let shown = v1::Webhook { headers, signing_secret: "whsec_".into(), ..secret };
    assert_eq!(made.action, Some(Action::Webhook(shown)));
    let list = v1::ListAutomationsRequest::default();
    let listed = api.automations.clone().list_automations(list).await.expect("lists").into_inner();
    assert_eq!(listed.automations, std::slice::from_ref(&made));
    assert_eq!(get(&api, "page-me").await.expect("is there"), made);

    let Some(Action::Webhook(given_back)) = made.action else { panic!("it has a webhook") };
    let lost = v1::SetAutomationRequest { overwrite: true, ..on_crash(given_back) };
    let refused = set(&api, lost).await.expect_err("would lose what is not given back");
    let lost = ["webhook.headers[Authorization]", "webhook.headers[X-Team]", "webhook.signing_secret"];
    assert_eq!(fields(&refused), lost);
}

#[tokio::test]
async fn one_that_is_paused_is_resumed() {
    let api = Api::start().await;
    let made = set(&api, on_crash(webhook())).await.expect("is set").automation.expect("is told");
    let request_id = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b".to_owned();
    let pause = v1::PauseAutomationRequest { name: "page-me".into(), request_id, ..Default::default() };
    let resume = v1::ResumeAutomationRequest { name: "page-me".into(), ..Default::default() };
    let mut automations = api.automations.clone();
    let paused = automations.pause_automation(pause.clone()).await.expect("is paused").into_inner();
    assert_eq!(paused.automation, Some(v1::Automation { is_paused: true, ..made.clone() }));
    let resumed = automations.resume_automation(resume.clone()).await.expect("is resumed").into_inner();
    assert_eq!(resumed.automation, Some(made.clone()));
    let repeated = automations.pause_automation(pause.clone()).await.expect("is told").into_inner();
    assert_eq!(repeated.automation, Some(made), "a late repeat changes nothing");

    let wrong = v1::PauseAutomationRequest { request_id: "x".into(), ..pause.clone() };
    let refused = automations.pause_automation(wrong).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["request_id"]);
    let other = v1::ResumeAutomationRequest { name: "other".into(), ..resume };
    let missing = automations.resume_automation(other).await.expect_err("is not there");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "AUTOMATION_NOT_FOUND"));
}

#[tokio::test]
async fn automations_are_listed_by_name() {
    let api = Api::start().await;
    for name in ["b", "A", "a.1", "c"] {
        set(&api, v1::SetAutomationRequest { name: name.to_owned(), ..on_crash(webhook()) })
            .await
            .expect("is set");
    }
    let list = async |request: v1::ListAutomationsRequest| {
        let page = api.automations.clone().list_automations(request).await.expect("is a page").into_inner();
        let names: Vec<_> = page.automations.into_iter().map(|automation| automation.name).collect();
        (names, page.next_page_token)
    };
    let first = v1::ListAutomationsRequest { page_size: 3, ..Default::default() };
    let (names, page_token) = list(first.clone()).await;
    assert_eq!(names, ["A", "a.1", "b"]);
    let rest = list(v1::ListAutomationsRequest { page_token, ..first }).await;
    assert_eq!(rest, (vec!["c".to_owned()], String::new()));
    let wrong = v1::ListAutomationsRequest { page_token: "a b".into(), ..Default::default() };
    let refused = api.automations.clone().list_automations(wrong).await.expect_err("is refused");
    assert_eq!(fields(&refused), ["page_token"]);
}

#[tokio::test]
async fn what_was_set_off_is_listed_by_run_and_event() {
    let api = Api::start().await;
    let states = [v1::StateType::Scheduled, v1::StateType::Completed];
    let trigger = v1::RunTrigger { filter: "kind = task".into(), ..on(&states) };
    set(&api, set_to(trigger, webhook())).await.expect("is set");
    let mut runs = [api.created(task()).await, api.created(task()).await];
    runs.sort_by(|one, other| one.id.cmp(&other.id));
    api.complete(&runs[0], b"1").await;

    let list = async |request: v1::ListFiringsRequest| {
        let page = api.automations.clone().list_firings(request).await.expect("is a page").into_inner();
        (page.firings, page.next_page_token)
    };
    let first = v1::ListFiringsRequest { name: "page-me".into(), page_size: 2, ..Default::default() };
    let (mut firings, page_token) = list(first.clone()).await;
    assert_eq!(firings.len(), 2);
    let (rest, end) = list(v1::ListFiringsRequest { page_token, ..first.clone() }).await;
    firings.extend(rest);
    assert_eq!(end, "");
    let place = |firing: &v1::Firing| (firing.run_id.clone(), firing.event_seq);
    let places: Vec<_> = firings.iter().map(place).collect();
    assert_eq!(places, [(runs[0].id.clone(), 1), (runs[0].id.clone(), 4), (runs[1].id.clone(), 1)]);
    let completed = &firings[1];
    let state = completed.state.as_ref().expect("is told");
    assert_eq!((state.r#type(), state.name.as_str()), (v1::StateType::Completed, "Completed"));
    assert_eq!(completed.due_at, state.occurred_at);
    let tried = (completed.n_tries, completed.last_error.as_str(), completed.given_up_at);
    assert_eq!(tried, (0, "", None));

    for page_token in ["x", "x/1", "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b/-1"] {
        let wrong = v1::ListFiringsRequest { page_token: page_token.into(), ..first.clone() };
        let refused = api.automations.clone().list_firings(wrong).await.expect_err("is refused");
        assert_eq!(fields(&refused), ["page_token"], "{page_token}");
    }
    let other = v1::ListFiringsRequest { name: "other".into(), ..first };
    let missing = api.automations.clone().list_firings(other).await.expect_err("is not there");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "AUTOMATION_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    use v1::StateType::{Crashed, Failed, Unspecified};

    let api = Api::start().await;
    let crash = || on_crash(webhook());
    let trigger = |trigger| set_to(trigger, webhook());
    let url = |url: &str| on_crash(v1::Webhook { url: url.to_owned(), ..webhook() });
    let timeout = |seconds, nanos| {
        on_crash(v1::Webhook { timeout: Some(prost_types::Duration { seconds, nanos }), ..webhook() })
    };
    let filter = |filter: &str| trigger(v1::RunTrigger { filter: filter.to_owned(), ..on(&[Crashed]) });
    let two = sending([("X-Team", "a"), ("x-team", "b")]);
    let unsigned = v1::Webhook { signing_secret: "whsec_hunter2".into(), ..webhook() };
    let number = v1::RunTrigger { states: vec![8, 77], ..Default::default() };
    for (request, field, told) in [
        (v1::SetAutomationRequest { name: "page me".into(), ..crash() }, "name", "A-Z a-z 0-9 . _ -"),
        (
            v1::SetAutomationRequest { description: "x".repeat(1_025), ..crash() },
            "description",
            "at most 1024",
        ),
        (v1::SetAutomationRequest { etag: "x".into(), ..crash() }, "etag", "unchanged"),
        (v1::SetAutomationRequest { request_id: "x".into(), ..crash() }, "request_id", "UUIDv7"),
        (v1::SetAutomationRequest { action: None, ..crash() }, "webhook", "what is to be done"),
        (v1::SetAutomationRequest { trigger: None, ..crash() }, "trigger", "neither states nor state_names"),
        (trigger(v1::RunTrigger::default()), "trigger", "neither states nor state_names"),
        (trigger(on(&[Failed, Unspecified])), "trigger.states[1]", "STATE_TYPE_CRASHED (8)"),
        (trigger(number), "trigger.states[1]", "is 77"),
        (trigger(on(&[Failed, Crashed, Failed])), "trigger.states[2]", "is FAILED, which is named before"),
        (
            trigger(named(&["Lat"])),
            "trigger.state_names[0]",
            "`Lat` is no name of a state; did you mean `Late`?",
        ),
        (trigger(named(&["timed_out"])), "trigger.state_names[0]", "did you mean `TimedOut`?"),
        (trigger(named(&["Late", "Zzzzzz"])), "trigger.state_names[1]", "there are Scheduled, Late,"),
        (trigger(named(&["Late", "Late"])), "trigger.state_names[1]", "is Late, which is named before"),
        (trigger(named(&["Late"; 51])), "trigger.state_names", "at most 50"),
        (filter("tag:nightly"), "trigger.filter", "at column 1: `tag` is no field of a run"),
        (filter(&"x".repeat(4_097)), "trigger.filter", "at most 4096"),
        (url(""), "webhook.url", "is empty"),
        (url("ftp://example.com"), "webhook.url", "begins neither with `https://`"),
        (url("https://ada:hunter2@example.com"), "webhook.url", "has a user or a password"),
        (on_crash(sending([("Host", "hunter2")])), "webhook.headers[Host]", "the server itself sends"),
        (on_crash(sending([("X-A", "hunter2\n")])), "webhook.headers[X-A]", "other characters"),
        (on_crash(two), "webhook.headers[x-team]", "is named twice"),
        (on_crash(unsigned), "webhook.signing_secret", "24 to 64 bytes in base64"),
        (timeout(0, 999_999_999), "webhook.timeout", "out of the range 1s to 30s"),
        (timeout(30, 1), "webhook.timeout", "out of the range 1s to 30s"),
        (timeout(-1, 0), "webhook.timeout", "out of the range 1s to 30s"),
    ] {
        let refused = set(&api, request).await.expect_err(field);
        let of_field = fields(&refused).into_iter().filter(|wrong| wrong == field).count();
        assert_eq!(
            (refused.code(), of_field),
            (Code::InvalidArgument, fields(&refused).len()),
            "{refused:?}"
        );
        let message = refused.message();
        assert!(message.contains(told) && !message.contains("hunter2"), "{message}");
    }
    let refused = set(&api, v1::SetAutomationRequest::default()).await.expect_err("all of it is missing");
    assert_eq!(fields(&refused), ["trigger", "webhook", "name"]);
}

#[tokio::test]
async fn each_field_takes_what_is_at_its_published_bound_and_no_more() {
    let api = Api::start().await;
    let limits = api.system.clone().get_limits(v1::GetLimitsRequest {}).await.expect("answers").into_inner();
    let url = |size: usize| format!("https://example.com/{}", "x".repeat(size - 20));
    let header =
        |name: String, value: String| on_crash(v1::Webhook { headers: [(name, value)].into(), ..webhook() });
    let most_time = limits.max_webhook_timeout.expect("is told");
    type Sized<'a> = &'a dyn Fn(usize) -> v1::SetAutomationRequest;
    let requests: [(u32, &str, Sized<'_>); 6] = [
        (limits.max_automation_description_size_bytes, "description", &|size| v1::SetAutomationRequest {
            description: "d".repeat(size),
            ..on_crash(webhook())
        }),
        (limits.max_webhook_url_size_bytes, "webhook.url", &|size| {
            on_crash(v1::Webhook { url: url(size), ..webhook() })
        }),
        (limits.max_webhook_headers, "webhook.headers", &|n| {
            let headers = (0..n).map(|idx| (format!("X-{idx}"), "v".to_owned())).collect();
            on_crash(v1::Webhook { headers, ..webhook() })
        }),
        (limits.max_webhook_header_name_size_bytes, "webhook.headers", &|size| {
            header("n".repeat(size), "v".to_owned())
        }),
        (limits.max_webhook_header_value_size_bytes, "webhook.headers[X]", &|size| {
            header("X".to_owned(), "v".repeat(size))
        }),
        (u32::try_from(most_time.seconds).expect("fits"), "webhook.timeout", &|seconds| {
            let seconds = i64::try_from(seconds).expect("fits");
            on_crash(v1::Webhook { timeout: Some(prost_types::Duration { seconds, nanos: 0 }), ..webhook() })
        }),
    ];
    for (most, field, request) in requests {
        let most = usize::try_from(most).expect("fits");
        let fits = v1::SetAutomationRequest { overwrite: true, ..request(most) };
        set(&api, fits).await.unwrap_or_else(|status| panic!("{most} of {field}: {status:?}"));
        let refused = set(&api, request(most + 1)).await.expect_err(field);
        assert_eq!(fields(&refused), [field], "{refused:?}");
        assert!(
            refused.message().contains(&most.to_string()),
            "{field} does not name its bound: {refused:?}"
        );
    }
    assert_eq!((limits.max_automations, limits.max_trigger_state_names), (100, 50));
}

//! What people ask of one run, as a client sees it.

mod common;

use common::{Api, fields, payload, reason, report, task};
use tidegate_model::RunId;
use tidegate_proto::{internal::claim_outcome::Outcome, v1};
use tonic::{Code, Request, Response};

/// Claims and starts a run; gives its epoch.
async fn start(api: &Api, run: &v1::Run) -> u64 {
    let Outcome::Assign(assign) = api.claim(run).await else { panic!("{run:?} is not granted") };
    let started = v1::report::Event::Started(v1::report::Started {});
    assert!(api.report(report(&run.id, assign.epoch, started)).await.accepted);
    assign.epoch
}

/// Has the code of a started run wait at `key`.
async fn wait_at(api: &Api, run: &v1::Run, epoch: u64, key: &str) {
    let request = Some(payload(b"\"who?\""));
    let paused = v1::report::Paused { key: key.to_owned(), request, ..Default::default() };
    let outcome = api.report(report(&run.id, epoch, v1::report::Event::Paused(paused))).await;
    assert_eq!(outcome.state.expect("has one").name, "Paused");
}

fn resume(run: &v1::Run, input: Option<v1::Payload>) -> v1::ResumeRunRequest {
    v1::ResumeRunRequest { run_id: run.id.clone(), input, ..Default::default() }
}

#[tokio::test]
async fn a_pause_is_answered_and_whoever_waits_for_it_reads_the_answer() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    let epoch = start(&api, &run).await;
    wait_at(&api, &run, epoch, "name").await;
    let wait =
        v1::AwaitResumeRequest { run_id: run.id.clone(), pause_key: "name".to_owned(), ..Default::default() };
    let look = v1::AwaitResumeRequest { timeout: Some(Default::default()), ..wait.clone() };
    assert_eq!(
        api.runs.clone().await_resume(look).await.expect("looks").into_inner(),
        v1::AwaitResumeResponse::default()
    );
    let (mut waiting, mut resuming) = (api.runs.clone(), api.runs.clone());
    let mut request = Request::new(resume(&run, Some(payload(b"\"Ada\""))));
    request.metadata_mut().insert("tidegate-actor", "grace".parse().expect("is visible"));
    let (waited, resumed) = tokio::join!(waiting.await_resume(wait.clone()), resuming.resume_run(request));
    let resumed = resumed.expect("resumes").into_inner().run.expect("is told");
    assert_eq!((resumed.state.expect("has one").name.as_str(), resumed.epoch), ("Running", epoch));
    let expected = v1::AwaitResumeResponse { resumed: true, input: Some(payload(b"\"Ada\"")) };
    assert_eq!(waited.expect("is told").into_inner(), expected);

    wait_at(&api, &run, epoch, "age").await;
    let list = v1::ListRunInputsRequest { run_id: run.id.clone(), page_size: 1, ..Default::default() };
    let first = api.runs.clone().list_run_inputs(list.clone()).await.expect("lists").into_inner();
    let next = v1::ListRunInputsRequest { page_token: first.next_page_token.clone(), ..list };
    let second = api.runs.clone().list_run_inputs(next).await.expect("lists").into_inner();
    let question = Some(payload(b"\"who?\""));
    let [age, name] = [&first.inputs[0], &second.inputs[0]];
    assert_eq!((age.pause_key.as_str(), &age.request, &age.input), ("age", &question, &None));
    assert_eq!((name.pause_key.as_str(), &name.request), ("name", &question));
    assert_eq!(name.input, expected.input);
    assert_eq!((second.inputs.len(), second.next_page_token.as_str()), (1, ""));

    let events = v1::ListRunEventsRequest { run_id: run.id.clone(), ..Default::default() };
    let events = api.runs.clone().list_run_events(events).await.expect("lists").into_inner().events;
    assert_eq!(events[4].actor, "grace");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_its_reason_and_mend() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    let id = run.id.clone();
    let runs = || api.runs.clone();
    let delete = v1::DeleteRunRequest { run_id: id.clone(), ..Default::default() };
    let refused = [
        runs().delete_run(delete.clone()).await.map(drop),
        runs().retry_run(v1::RetryRunRequest { run_id: id.clone(), ..Default::default() }).await.map(drop),
        runs().resume_run(resume(&run, Some(payload(b"1")))).await.map(drop),
        runs()
            .await_resume(v1::AwaitResumeRequest {
                run_id: id.clone(),
                pause_key: "name".to_owned(),
                ..Default::default()
            })
            .await
            .map(drop),
    ]
    .map(|refused| refused.expect_err("is refused"));
    for status in &refused {
        let expected = (Code::FailedPrecondition, "TRANSITION_NOT_ALLOWED");
        assert_eq!((status.code(), reason(status).as_str()), expected, "{status:?}");
    }
    assert!(refused[0].message().ends_with("cancel it first"), "{}", refused[0].message());

    let wrong = v1::PauseRunRequest {
        run_id: id.clone(),
        timeout: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    };
    let wrong = runs().pause_run(wrong).await.expect_err("is refused");
    assert_eq!(fields(&wrong), ["timeout"]);
    let wrong = v1::PauseRunRequest { run_id: id.clone(), request_id: "7".to_owned(), ..Default::default() };
    assert_eq!(fields(&runs().pause_run(wrong).await.expect_err("is refused")), ["request_id"]);
    let wrong = v1::RetryRunRequest { run_id: id, reason: "r".repeat(2_000), ..Default::default() };
    assert_eq!(fields(&runs().retry_run(wrong).await.expect_err("is refused")), ["reason"]);
    let unknown = v1::ListRunInputsRequest { run_id: RunId::new().to_string(), ..Default::default() };
    let unknown = runs().list_run_inputs(unknown).await.expect_err("is refused");
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
}

#[tokio::test]
async fn a_run_is_paused_resumed_retried_and_deleted() {
    let api = Api::start().await;
    let run = api.created(task()).await;
    let runs = || api.runs.clone();
    let id = || run.id.clone();
    let name =
        |run: Option<v1::Run>| run.and_then(|run| run.state).map(|state| state.name).unwrap_or_default();
    let timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let paused = v1::PauseRunRequest { run_id: id(), timeout, ..Default::default() };
    let paused = runs().pause_run(paused).await.map(Response::into_inner).expect("pauses").run;
    assert!(paused.as_ref().is_some_and(|run| run.pause_expires_at.is_some()));
    assert_eq!(name(paused), "Paused");
    let resumed = runs().resume_run(resume(&run, None)).await.expect("resumes").into_inner().run;
    assert_eq!(name(resumed.clone()), "Resuming");
    api.complete(&resumed.expect("is told"), b"1").await;
    let retried = v1::RetryRunRequest { run_id: id(), reason: "again".to_owned(), ..Default::default() };
    let retried = runs().retry_run(retried).await.expect("retries").into_inner().run;
    assert_eq!(name(retried.clone()), "AwaitingRetry");
    api.complete(&retried.expect("is told"), b"2").await;
    let delete =
        v1::DeleteRunRequest { run_id: id(), request_id: RunId::new().to_string(), ..Default::default() };
    runs().delete_run(delete.clone()).await.expect("deletes");
    runs().delete_run(delete).await.expect("was done before");
    let gone = runs().get_run(v1::GetRunRequest { run_id: id(), ..Default::default() }).await;
    assert_eq!(gone.expect_err("is gone").code(), Code::NotFound);
}

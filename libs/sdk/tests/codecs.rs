//! Values that go through a codec, against a service that the test plays.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/encryption/codec.rs"]
mod encryption;
#[path = "../../sdk-core/tests/fake/mod.rs"]
mod fake;

use std::sync::Arc;

use encryption::Encryption;
use fake::{Event, Fake, accepted, soon};
use tidegate_sdk::{
    CancellationToken, Client, Context, Worker,
    core::{self, Codecs, Options, PayloadCodec, payload},
    proto::{Assign, Payload, Report, Run, RunKind, State, StateType, WaitRunsResponse},
};
use tokio::task::JoinSet;

const WORD: &[u8] = b"rumpelstiltskin";

fn codecs(secret: u8) -> Codecs {
    let encryption: Arc<dyn PayloadCodec> = Arc::new(Encryption::new(&[secret; 32]).unwrap());
    Codecs::new([encryption]).unwrap()
}

fn client(fake: &Fake, codecs: Codecs) -> Client {
    let options = Options { codecs, ..Options::new(&fake.address, "test").unwrap() };
    Client::with_options(options).unwrap()
}

fn is_readable(payload: &Payload) -> bool {
    payload.data.windows(WORD.len()).any(|part| part.eq_ignore_ascii_case(WORD))
}

async fn greet(_: Context, name: String) -> Result<String, String> {
    Ok(format!("hello {name}"))
}

/// What a worker makes of `parameters`.
async fn end_of(fake: &mut Fake, codecs: Codecs, parameters: Payload) -> Report {
    let worker = Worker::builder(client(fake, codecs)).task("greet", greet).build().unwrap();
    let stop = CancellationToken::new();
    let _working = JoinSet::from_iter([worker.run(stop.clone())]);
    let mut conn = fake.worker().await;
    let assign = Assign {
        run_id: core::new_run_id(),
        epoch: 1,
        kind: RunKind::Task.into(),
        name: "greet".into(),
        attempt: 1,
        parameters: Some(parameters),
        ..Default::default()
    };
    conn.assign(assign).await;
    loop {
        let reports = conn.reports().await;
        conn.answer(reports.iter().map(accepted).collect()).await;
        let end = reports.into_iter().find(|report| !matches!(report.event, Some(Event::Started(_))));
        if let Some(end) = end {
            return end;
        }
    }
}

#[tokio::test]
async fn neither_parameters_nor_results_are_sent_in_the_clear() {
    let mut fake = Fake::start().await;
    let caller = client(&fake, codecs(1));
    let delaying = caller.task("greet");
    let (handle, created) = tokio::join!(delaying.delay("rumpelstiltskin"), fake.accept_creates());
    let parameters = created[0].parameters.clone().unwrap();
    assert_eq!(payload::encoding(&parameters), "codec/aes-256-gcm");
    assert!(!is_readable(&parameters));
    assert_eq!(parameters.metadata[payload::FINGERPRINT].len(), 32);

    let Some(Event::Completed(completed)) = end_of(&mut fake, codecs(1), parameters).await.event else {
        panic!("it did not complete")
    };
    let result = completed.result.unwrap();
    assert!(!is_readable(&result));

    let handle = handle.unwrap();
    let run = Run {
        id: handle.id().to_owned(),
        state: Some(State { r#type: StateType::Completed.into(), ..Default::default() }),
        result: Some(result),
        ..Default::default()
    };
    let answer = async {
        let (_, ended) = soon(fake.waits.recv()).await.unwrap();
        soon(ended.send(Ok(WaitRunsResponse { runs: vec![run], ..Default::default() }))).await.unwrap();
        ended
    };
    let (greeting, _stream) = tokio::join!(handle.result::<String>(), answer);
    assert_eq!(greeting.unwrap(), "hello rumpelstiltskin");
}

#[tokio::test]
async fn equal_parameters_have_equal_fingerprints() {
    let mut fake = Fake::start().await;
    let caller = client(&fake, codecs(1));
    let calls = async {
        for name in ["a", "a", "b"] {
            caller.task("greet").delay(name).await.unwrap();
        }
    };
    let created = async {
        let mut created = Vec::new();
        while created.len() < 3 {
            created.extend(fake.accept_creates().await);
        }
        created
    };
    let ((), created) = tokio::join!(calls, created);
    let parameters: Vec<&Payload> = created.iter().filter_map(|run| run.parameters.as_ref()).collect();
    let fingerprint = |n: usize| &parameters[n].metadata[payload::FINGERPRINT];
    assert_ne!(parameters[0].data, parameters[1].data);
    assert_eq!(fingerprint(0), fingerprint(1));
    assert_ne!(fingerprint(0), fingerprint(2));
}

#[tokio::test]
async fn a_client_with_the_key_reads_a_value_wherever_it_finds_it() {
    let fake = Fake::start().await;
    let mut value = payload::json(r#""x""#);
    codecs(1).encode(Some(&mut value)).unwrap();
    assert_eq!(client(&fake, codecs(1)).value::<String>(&value).await.unwrap(), "x");
}

#[tokio::test]
async fn a_worker_without_the_key_says_what_it_lacks() {
    let mut parameters = payload::json(r#""x""#);
    codecs(1).encode_parameters(Some(&mut parameters)).unwrap();
    for (of_worker, message) in [
        (codecs(2), "the codec `aes-256-gcm` cannot read a value: it was sealed with another key"),
        (Codecs::default(), "written by the codec `aes-256-gcm`, which this client does not have"),
    ] {
        let mut fake = Fake::start().await;
        let Some(Event::Failed(failure)) = end_of(&mut fake, of_worker, parameters.clone()).await.event
        else {
            panic!("it did not fail")
        };
        assert!(failure.message.contains(message) && failure.non_retryable, "{failure:?}");
    }
}

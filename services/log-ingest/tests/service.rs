//! LogService as its clients see it, on a real store and a real port.

mod support;

use std::num::NonZeroUsize;

use support::{LogIngest, SOON, entries, entry};
use tidegate_log_ingest::Config;
use tidegate_model::RunId;
use tidegate_proto::v1;
use tidegate_service_kit::{ByteSize, config::defaults};
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt;

fn tail_of(run: RunId) -> v1::TailLogsRequest {
    v1::TailLogsRequest { run_id: run.to_string(), ..Default::default() }
}

#[tokio::test]
async fn lines_are_stored_found_and_followed() {
    let service = LogIngest::start().await;
    let run = RunId::new();
    let mut writer = service.writer().await;
    writer.send(1, entries(run, 1..=3)).await;
    writer.acked(1).await;
    assert_eq!(service.seqs(run).await, [1, 2, 3]);

    let mut tail = service.tail(tail_of(run)).await;
    assert_eq!(tail.next(3).await, [1, 2, 3]);
    let after_three = tail.resume_token.clone();
    let mut only_new = service.tail(v1::TailLogsRequest { only_new: true, ..tail_of(run) }).await;
    writer.send(2, entries(run, 4..=5)).await;
    writer.acked(2).await;
    assert_eq!(tail.next(2).await, [4, 5]);
    assert_eq!(only_new.next(2).await, [4, 5]);

    // Another process takes the tail up where the first was.
    drop(tail);
    let mut resumed = service.tail(v1::TailLogsRequest { resume_token: after_three, ..tail_of(run) }).await;
    assert_eq!(resumed.next(2).await, [4, 5]);
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_entry_refuses_its_batch_and_names_the_field() {
    let service = LogIngest::start().await;
    let run = RunId::new();
    let mut writer = service.writer().await;
    writer.send(1, entries(run, 1..=1)).await;
    let wrong = v1::LogEntry { run_id: "not-a-run".to_owned(), ..entry(run, 3) };
    writer.send(2, vec![entry(run, 2), wrong]).await;
    writer.acked(1).await;
    let status = writer.error().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("has a BadRequest").field_violations;
    assert_eq!(violations[0].field, "entries[1].run_id");
    assert_eq!(service.seqs(run).await, [1]);
    service.stop().await;
}

#[tokio::test]
async fn a_repeated_batch_is_stored_once() {
    let service = LogIngest::start().await;
    let run = RunId::new();
    let mut first = service.writer().await;
    first.send(1, entries(run, 1..=4)).await;
    first.acked(1).await;
    drop(first); // the acknowledgement did not reach the writer, say: it sends again, and more
    let mut second = service.writer().await;
    second.send(1, entries(run, 1..=4)).await;
    second.send(2, entries(run, 5..=6)).await;
    second.send(3, Vec::new()).await;
    second.acked(3).await;
    assert_eq!(service.seqs(run).await, [1, 2, 3, 4, 5, 6]);
    service.stop().await;
}

#[tokio::test]
async fn many_writers_share_lanes_and_a_small_budget() {
    const WRITERS: u64 = 8;
    const BATCHES: u64 = 90; // more than may be unacknowledged
    let mut config: Config = defaults();
    config.ingest.max_buffered = ByteSize::from_bytes(20_000);
    let service = LogIngest::start_with(config).await;
    let runs: Vec<RunId> = (0..WRITERS).map(|_| RunId::new()).collect();
    let mut writers = tokio::task::JoinSet::new();
    for run in runs.clone() {
        let mut writer = service.writer().await;
        writers.spawn(async move {
            let requests = writer.requests.clone();
            let send = async move {
                for batch_seq in 1..=BATCHES {
                    let lines = entries(run, batch_seq * 10 - 9..=batch_seq * 10);
                    let request = v1::IngestLogsRequest {
                        writer_id: run.to_string(),
                        ..support::batch(batch_seq, lines)
                    };
                    requests.send(request).await.expect("the stream is open");
                }
            };
            tokio::join!(send, writer.acked(BATCHES));
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("the writer is well");
    }
    for run in runs {
        assert_eq!(service.seqs(run).await, (1..=BATCHES * 10).collect::<Vec<_>>());
    }
    service.stop().await;
}

#[tokio::test]
async fn pages_are_bounded_and_complete() {
    let service = LogIngest::start().await;
    let (run, root) = (RunId::new(), RunId::new());
    let mut writer = service.writer().await;
    for batch_seq in 1..=3 {
        let long = |seq| v1::LogEntry {
            message: "x".repeat(40_000),
            root_run_id: root.to_string(),
            ..entry(run, seq)
        };
        writer.send(batch_seq, (batch_seq * 30 - 29..=batch_seq * 30).map(long).collect()).await;
    }
    writer.acked(3).await;
    let mut request = v1::QueryLogsRequest { root_run_id: root.to_string(), ..Default::default() };
    let (mut seqs, mut n_pages) = (Vec::new(), 0);
    loop {
        let page = service.query(request.clone()).await.expect("fits into a client's 4 MiB");
        seqs.extend(page.entries.iter().map(|entry| entry.seq));
        n_pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seqs, (1..=90).collect::<Vec<_>>());
    assert!(n_pages > 1);
    let mut tail =
        service.tail(v1::TailLogsRequest { root_run_id: root.to_string(), ..Default::default() }).await;
    assert_eq!(tail.next(90).await, (1..=90).collect::<Vec<_>>());

    let short = RunId::new();
    writer.send(4, entries(short, 101..=400)).await;
    writer.acked(4).await;
    for (page_size, has_more) in [(299, true), (300, false), (301, false)] {
        let request = v1::QueryLogsRequest { run_id: short.to_string(), page_size, ..Default::default() };
        let page = service.query(request).await.unwrap();
        assert_eq!(page.entries.len(), page_size.min(300) as usize);
        assert_eq!(
            !page.next_page_token.is_empty(),
            has_more,
            "a full page that is the last has none behind it"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_told_so() {
    let service = LogIngest::start().await;
    let run = RunId::new().to_string();
    let query = v1::QueryLogsRequest { run_id: run.clone(), ..Default::default() };
    for (request, field) in [
        (v1::QueryLogsRequest { run_id: String::new(), ..query.clone() }, "run_id"),
        (v1::QueryLogsRequest { page_size: -1, ..query.clone() }, "page_size"),
        (v1::QueryLogsRequest { page_token: "x".to_owned(), ..query.clone() }, "page_token"),
        (v1::QueryLogsRequest { min_level: 25, ..query.clone() }, "min_level"),
        (v1::QueryLogsRequest { contains: "x".repeat(257), ..query.clone() }, "contains"),
        (v1::QueryLogsRequest { namespace: "a b".to_owned(), ..query.clone() }, "namespace"),
        (v1::QueryLogsRequest { root_run_id: run.clone(), ..query }, "root_run_id"),
    ] {
        let status = service.query(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let tail = v1::TailLogsRequest { run_id: run, resume_token: "x".to_owned(), ..Default::default() };
    assert_eq!(service.client.clone().tail_logs(tail).await.unwrap_err().code(), Code::InvalidArgument);

    let mut writer = service.writer().await;
    writer.send(2, Vec::new()).await;
    assert!(writer.error().await.message().contains("batch_seq"));
    service.stop().await;
}

#[tokio::test]
async fn a_further_tail_than_allowed_is_refused_with_a_time_to_come_back() {
    let mut config: Config = defaults();
    config.tail.max_tails = NonZeroUsize::MIN;
    let service = LogIngest::start_with(config).await;
    let held = service.tail(tail_of(RunId::new())).await;
    let status = service.client.clone().tail_logs(tail_of(RunId::new())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_details_retry_info().is_some());
    drop(held);
    service.stop().await;
}

#[tokio::test]
async fn a_stop_ends_streams_after_storing_what_was_taken_in() {
    let service = LogIngest::start().await;
    let run = RunId::new();
    let mut writer = service.writer().await;
    let mut tail = service.tail(tail_of(run)).await;
    writer.send(1, entries(run, 1..=1)).await;
    writer.acked(1).await;
    assert_eq!(tail.next(1).await, [1]);
    service.tasks.stop();
    assert_eq!(writer.error().await.code(), Code::Unavailable);
    let end = timeout(SOON, tail.lines.message()).await.unwrap().unwrap_err();
    assert_eq!(end.get_details_error_info().unwrap().reason, "DRAINING");
    service.stop().await;
}

//! What every log store must do. An adapter runs all of it on its real database: [`log_store_conformance`]
//! makes a test of each case.
//!
//! [`log_store_conformance`]: crate::log_store_conformance
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{sync::Arc, time::Duration};

use tidegate_model::{Namespace, RunId, Timestamp};
use tokio::time::timeout;

use super::{LogBatch, LogLevel, LogLine, LogPosition, LogQuery, LogScope, LogStore, StoredLine};

/// Makes a `#[tokio::test]` of each case, and one that runs all of them to see that every query file is reached.
///
/// `$with_store` is an `async fn` that takes a case (`FnOnce(Arc<dyn LogStore>) -> Future`), gives it a fresh store,
/// and tidies up after it; `$statements` are those of the adapter that are about logs.
#[macro_export]
macro_rules! log_store_conformance {
    ($with_store:path, $statements:expr) => {
        $crate::log_store_conformance!(@cases $with_store, $statements;
            lines_come_back_by_time_as_they_were,
            a_repeated_line_is_stored_once,
            pages_have_every_line_once,
            filters_narrow,
            namespaces_are_apart,
            a_tail_has_every_line_once_in_the_order_of_storing,
            a_tail_goes_past_lines_that_do_not_fit,
            concurrent_writers_lose_nothing_for_a_tail,
            a_commit_is_announced,
            old_days_are_dropped,
            odd_text_is_stored);
    };
    (@cases $with_store:path, $statements:expr; $($case:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $with_store($crate::log::conformance::$case).await;
            }
        )*

        #[tokio::test]
        async fn every_query_file_is_reached() {
            $($with_store($crate::log::conformance::$case).await;)*
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
            let unreached = $crate::conformance::unreached($statements, &folder);
            assert!(unreached.is_empty(), "{unreached:#?}");
        }
    };
}

/// The time of the cases: noon of a day, so that some hours more are the same day.
const NOON: Timestamp = Timestamp::from_micros(1_790_251_200_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(20);

fn line(run: RunId, seq: u64) -> LogLine {
    LogLine {
        run,
        root: run,
        attempt: 1,
        seq,
        logged_at: NOON + Duration::from_millis(seq),
        level: LogLevel::from_number(9).unwrap(),
        logger: "app".to_owned(),
        message: format!("line {seq}"),
        trace_id: None,
        span_id: None,
    }
}

fn batch(writer: &str, lines: Vec<LogLine>) -> LogBatch {
    LogBatch { namespace: Namespace::default(), writer: writer.to_owned(), lines }
}

fn query(scope: LogScope) -> LogQuery {
    LogQuery {
        namespace: Namespace::default(),
        scope,
        min_level: LogLevel::UNSPECIFIED,
        contains: None,
        after: None,
        limit: 1_000,
    }
}

async fn seqs(store: &dyn LogStore, query: &LogQuery) -> Vec<u64> {
    store.query_logs(query).await.unwrap().iter().map(|stored| stored.line.seq).collect()
}

async fn tail(store: &dyn LogStore, scope: LogScope, after: LogPosition) -> (Vec<StoredLine>, LogPosition) {
    let (mut lines, mut after) = (Vec::new(), after);
    loop {
        let page =
            store.read_log_tail(&Namespace::default(), scope, LogLevel::UNSPECIFIED, after, 7).await.unwrap();
        lines.extend(page.lines);
        after = page.next;
        if !page.is_full {
            return (lines, after);
        }
    }
}

/// Reads on until `enough` lines are there: what others write to the same server may hold a tail back, but
/// not for long.
async fn tail_until(store: &dyn LogStore, scope: LogScope, enough: usize) -> Vec<StoredLine> {
    let wait = async {
        let (mut lines, mut after) = tail(store, scope, LogPosition::START).await;
        while lines.len() < enough {
            tokio::task::yield_now().await;
            let (more, next) = tail(store, scope, after).await;
            lines.extend(more);
            after = next;
        }
        lines
    };
    timeout(SOON, wait).await.expect("the tail has all lines soon")
}

/// Everything in a line survives, and the order is that of time.
pub async fn lines_come_back_by_time_as_they_were(store: Arc<dyn LogStore>) {
    let (run, root) = (RunId::new(), RunId::new());
    let rich = LogLine {
        root,
        attempt: 3,
        logged_at: Timestamp::from_micros(1_234_567),
        level: LogLevel::UNSPECIFIED,
        logger: String::new(),
        message: "två rader\nおわり".to_owned(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        span_id: Some("00f067aa0ba902b7".to_owned()),
        ..line(run, 2)
    };
    let plain = LogLine { root, ..line(run, 1) };
    assert_eq!(store.append_logs(&[batch("w", vec![plain.clone(), rich.clone()])], NOON).await.unwrap(), 2);
    for scope in [LogScope::Run(run), LogScope::Tree(root)] {
        let lines: Vec<_> =
            store.query_logs(&query(scope)).await.unwrap().into_iter().map(|stored| stored.line).collect();
        assert_eq!(lines, [rich.clone(), plain.clone()], "{scope:?}");
    }
    assert_eq!(store.query_logs(&query(LogScope::Tree(run))).await.unwrap(), []);
}

/// Within a batch, across batches of a call, and across calls; the numbers of one writer are not another's.
pub async fn a_repeated_line_is_stored_once(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    let lines = |range: std::ops::RangeInclusive<u64>| range.map(|seq| line(run, seq)).collect::<Vec<_>>();
    assert_eq!(
        store.append_logs(&[batch("w", lines(1..=3)), batch("w", lines(2..=5))], NOON).await.unwrap(),
        5
    );
    assert_eq!(store.append_logs(&[batch("w", lines(1..=5))], NOON).await.unwrap(), 0);
    assert_eq!(store.append_logs(&[batch("w", lines(8..=8))], NOON).await.unwrap(), 1);
    assert_eq!(store.append_logs(&[batch("w", lines(4..=8))], NOON).await.unwrap(), 2, "6 and 7 were a gap");
    assert_eq!(seqs(&*store, &query(LogScope::Run(run))).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(store.append_logs(&[batch("v", lines(1..=1))], NOON).await.unwrap(), 1);
    assert_eq!(store.append_logs(&[], NOON).await.unwrap(), 0);
}

/// Also where many lines have the same time.
pub async fn pages_have_every_line_once(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    for part in 0..5 {
        let lines = (1..=10).map(|seq| LogLine { logged_at: NOON, ..line(run, part * 10 + seq) }).collect();
        store.append_logs(&[batch("w", lines)], NOON).await.unwrap();
    }
    let mut page = LogQuery { limit: 7, ..query(LogScope::Run(run)) };
    let mut found = Vec::new();
    loop {
        let lines = store.query_logs(&page).await.unwrap();
        found.extend(lines.iter().map(|stored| stored.line.seq));
        match lines.last() {
            Some(last) if lines.len() == 7 => page.after = Some(last.page_key()),
            _ => break,
        }
    }
    assert_eq!(found, (1..=50).collect::<Vec<_>>());
}

/// By level and by text; `%` and `_` mean themselves.
pub async fn filters_narrow(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    let with = |seq, level, message: &str| LogLine {
        level: LogLevel::from_number(level).unwrap(),
        message: message.to_owned(),
        ..line(run, seq)
    };
    let lines =
        vec![with(1, 5, "Start of it"), with(2, 17, "100% gone"), with(3, 13, "the END"), with(4, 0, "x_y")];
    store.append_logs(&[batch("w", lines)], NOON).await.unwrap();
    let by_level =
        |level| LogQuery { min_level: LogLevel::from_number(level).unwrap(), ..query(LogScope::Run(run)) };
    assert_eq!(seqs(&*store, &by_level(13)).await, [2, 3]);
    for (text, expected) in
        [("start", vec![1]), ("end", vec![3]), ("%", vec![2]), ("_", vec![4]), ("zz", vec![])]
    {
        let query = LogQuery { contains: Some(text.to_owned()), ..query(LogScope::Tree(run)) };
        assert_eq!(seqs(&*store, &query).await, expected, "{text}");
    }
    let both = LogQuery { contains: Some("e".to_owned()), ..by_level(17) };
    assert_eq!(seqs(&*store, &both).await, [2]);
}

/// Neither lines nor writers are shared between namespaces.
pub async fn namespaces_are_apart(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    let other: Namespace = "other".parse().unwrap();
    let theirs = LogBatch { namespace: other.clone(), ..batch("w", vec![line(run, 1), line(run, 2)]) };
    assert_eq!(store.append_logs(&[batch("w", vec![line(run, 1)]), theirs], NOON).await.unwrap(), 3);
    assert_eq!(seqs(&*store, &query(LogScope::Run(run))).await, [1]);
    assert_eq!(
        seqs(&*store, &LogQuery { namespace: other.clone(), ..query(LogScope::Tree(run)) }).await,
        [1, 2]
    );
    assert_eq!(tail_until(&*store, LogScope::Run(run), 1).await.len(), 1);
}

/// Storing decides, not the writer's time; reading on gives what came later.
pub async fn a_tail_has_every_line_once_in_the_order_of_storing(store: Arc<dyn LogStore>) {
    let (run, root) = (RunId::new(), RunId::new());
    let of_tree = |seq| LogLine { root, ..line(run, seq) };
    store.append_logs(&[batch("w", (21..=40).map(of_tree).collect())], NOON).await.unwrap();
    store.append_logs(&[batch("w", (1..=20).map(of_tree).collect())], NOON).await.unwrap();
    let expected: Vec<u64> = (21..=40).chain(1..=20).collect();
    for scope in [LogScope::Run(run), LogScope::Tree(root)] {
        let lines = tail_until(&*store, scope, 40).await;
        assert_eq!(lines.iter().map(|stored| stored.line.seq).collect::<Vec<_>>(), expected, "{scope:?}");
        assert!(lines.windows(2).all(|pair| pair[0].position < pair[1].position));
        let (rest, _) = tail(&*store, scope, lines[29].position).await;
        assert_eq!(rest.iter().map(|stored| stored.line.seq).collect::<Vec<_>>(), expected[30..]);
    }

    let end = tail_end_after(&*store, LogScope::Run(run)).await;
    assert_eq!(tail(&*store, LogScope::Run(run), end).await.0, []);
    store.append_logs(&[batch("w", vec![of_tree(41)])], NOON).await.unwrap();
    let later = timeout(SOON, async {
        loop {
            let (lines, _) = tail(&*store, LogScope::Run(run), end).await;
            if !lines.is_empty() {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(later.await.unwrap().iter().map(|stored| stored.line.seq).collect::<Vec<_>>(), [41]);
}

/// The end of the tail, once it lies behind all lines of `scope`.
async fn tail_end_after(store: &dyn LogStore, scope: LogScope) -> LogPosition {
    let wait = async {
        loop {
            let end = store.log_tail_end().await.unwrap();
            if tail(store, scope, end).await.0.is_empty() {
                return end;
            }
        }
    };
    timeout(SOON, wait).await.unwrap()
}

/// Otherwise every look at a run with many fine lines would read all of them again.
pub async fn a_tail_goes_past_lines_that_do_not_fit(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    store.append_logs(&[batch("w", (1..=9).map(|seq| line(run, seq)).collect())], NOON).await.unwrap();
    let last = tail_until(&*store, LogScope::Run(run), 9).await[8].position;
    let grave = LogLevel::from_number(17).unwrap();
    let page = store
        .read_log_tail(&Namespace::default(), LogScope::Run(run), grave, LogPosition::START, 5)
        .await
        .unwrap();
    assert_eq!((page.lines, page.is_full), (vec![], false));
    assert!(page.next >= last, "{:?} {last:?}", page.next);
}

/// A reader that reads while many write never goes past a line that is about to be committed.
pub async fn concurrent_writers_lose_nothing_for_a_tail(store: Arc<dyn LogStore>) {
    const WRITERS: u64 = 4;
    const BATCHES: u64 = 25;
    let run = RunId::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for seq in 1..=BATCHES {
                let number = writer * BATCHES + seq;
                let name = format!("w{writer}");
                store.append_logs(&[batch(&name, vec![line(run, number)])], NOON).await.unwrap();
            }
        });
    }
    let mut lines = tail_until(&*store, LogScope::Run(run), (WRITERS * BATCHES) as usize).await;
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    lines.sort_by_key(|stored| stored.line.seq);
    let numbers: Vec<u64> = lines.iter().map(|stored| stored.line.seq).collect();
    assert_eq!(numbers, (1..=WRITERS * BATCHES).collect::<Vec<_>>());
}

/// A tail need not poll to see new lines quickly.
pub async fn a_commit_is_announced(store: Arc<dyn LogStore>) {
    let mut commits = store.log_commits();
    commits.borrow_and_update();
    store.append_logs(&[batch("w", vec![line(RunId::new(), 1)])], NOON).await.unwrap();
    timeout(SOON, commits.changed()).await.expect("is announced").unwrap();
}

/// By the day of storing, whether room was made for it or not; what is younger stays.
pub async fn old_days_are_dropped(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    // Before any room is made: such lines must be stored, and dropped, too.
    store.append_logs(&[batch("w", vec![line(run, 1)])], NOON).await.unwrap();
    store.prepare_log_days(NOON, 2).await.unwrap();
    store.prepare_log_days(NOON, 2).await.unwrap();
    for day in 1..=3 {
        store
            .append_logs(&[batch("w", vec![line(run, 1 + u64::from(day))])], NOON + DAY * day)
            .await
            .unwrap();
    }
    assert_eq!(seqs(&*store, &query(LogScope::Run(run))).await, [1, 2, 3, 4]);
    assert!(!store.drop_logs_before(NOON).await.unwrap());
    assert!(store.drop_logs_before(NOON + DAY * 2).await.unwrap());
    assert_eq!(seqs(&*store, &query(LogScope::Run(run))).await, [3, 4]);
    assert!(store.drop_logs_before(NOON + DAY * 4).await.unwrap());
    assert!(seqs(&*store, &query(LogScope::Run(run))).await.is_empty());
    // The dropped lines take their writer's memory with them only when the writer is silent.
    assert_eq!(store.append_logs(&[batch("w", vec![line(run, 9)])], NOON + DAY * 4).await.unwrap(), 1);
}

/// What one line holds must not fail the lines of others: Postgres takes no NUL.
pub async fn odd_text_is_stored(store: Arc<dyn LogStore>) {
    let run = RunId::new();
    let odd = LogLine { message: "a\0b'\\".to_owned(), logger: "\0".to_owned(), ..line(run, 1) };
    store.append_logs(&[batch("w\0", vec![odd])], NOON).await.unwrap();
    let lines = store.query_logs(&query(LogScope::Run(run))).await.unwrap();
    assert_eq!(
        (lines[0].line.message.as_str(), lines[0].line.logger.as_str()),
        ("a\u{fffd}b'\\", "\u{fffd}")
    );
}

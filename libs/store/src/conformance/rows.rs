//! Runs as rows.

use std::{sync::Arc, time::Duration};

use tidegate_model::{Clock as _, Epoch, Payload, RunKind, SessionId, SystemClock};
use tidegate_orchestration::{
    CachePolicy, CrashPolicy, Draft, Failure, Holder, ParentPolicies, ParentPolicy, Phase, Placement,
    Policies, RetryPolicy, Run, State, StateName, StateType, create,
};

use super::fixture::*;
use crate::{EventRow, NewRun, RunStore};

/// A run in which no two fields are alike and none is at its default.
fn full() -> Run {
    let parent = queued();
    let policies = Policies {
        retry: RetryPolicy {
            max_retries: 7,
            delays: vec![Duration::from_millis(250), Duration::from_secs(9)],
            backoff_factor: 1.75,
            max_delay: Duration::from_secs(1_234),
            jitter_factor: 0.3,
            retry_on: vec!["TimeoutError".to_owned(), "a, \"b\"".to_owned()],
            never_retry_on: vec!["ValueError".to_owned()],
        },
        crash: CrashPolicy { max_crashes: 11 },
        run_timeout: Some(Duration::from_secs(77)),
        start_timeout: Duration::from_secs(12),
        cancel_grace: Duration::from_micros(5_000_001),
        late_after: Some(Duration::from_secs(13)),
        parent: ParentPolicies { on_failure: ParentPolicy::Detach, ..ParentPolicies::default() },
    };
    let labels = [("team", "größe \"x\" \\"), ("a/b.c_d-e", "")];
    let run = create(
        Draft {
            namespace: elsewhere(),
            kind: RunKind::Flow,
            name: "größe / \"quoted\" \\ 'single'".parse().unwrap(),
            run_name: "nightly, {a} \"b\" \\c 東京".to_owned(),
            placement: Placement::Queue("gpu.large".parse().unwrap()),
            parent: Some(parent.id),
            policies,
            priority: -42,
            tags: ["a", "", "with, comma", "{brace}", "\"quote\"", "back\\slash", "NULL", "ü"]
                .map(str::to_owned)
                .to_vec(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            deployment: Some("etl/nightly".to_owned()),
            deployment_version: Some(7),
            work_pool: Some("site.A-1".parse().unwrap()),
            schedule: Some("nightly_1.a-B".parse().unwrap()),
            fire_at: Some(after(59)),
            due_at: Some(after(60)),
            expires_at: Some(after(90)),
            cache: Some(CachePolicy {
                key: "cache, {key}".to_owned(),
                expires_after: Some(Duration::from_secs(600)),
            }),
            concurrency_limits: vec!["gpu".to_owned(), "with, comma".to_owned()],
            fairness_key: Some("customer {7}, \"größe\"".parse().unwrap()),
            required_labels: [("gpu", "true"), ("zone", "a=b, \"c\"")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..draft()
        },
        Some(&parent),
        T0,
    );
    Run {
        preferred_worker: Some("host 2:4712".parse().unwrap()),
        started_at: Some(after(1)),
        state: State::new(Phase::Running { holder: worker(), deadline: Some(after(100)) }, after(2))
            .described(StateName::Retrying, "the second attempt's \"message\""),
        epoch: Epoch(9),
        attempt: 2,
        crashes: 1,
        retries: 3,
        event_seq: 8,
        cascade_pending: true,
        resumed_keys: vec!["first".to_owned(), "{second}, \"third\"".to_owned()],
        ..run.unwrap().run
    }
}

/// Every field and policy is read back as it was written, by each way of reading.
pub async fn every_field_survives(store: Arc<dyn RunStore>) {
    let full = full();
    let bare = queued();
    let detached = |parent: ParentPolicies| {
        made(Draft {
            cache: Some(CachePolicy { key: "k".to_owned(), expires_after: None }),
            policies: Policies { parent, ..Policies::default() },
            ..draft()
        })
    };
    let on_cancel = detached(ParentPolicies { on_cancel: ParentPolicy::Detach, ..ParentPolicies::default() });
    let on_crash = detached(ParentPolicies { on_crash: ParentPolicy::Detach, ..ParentPolicies::default() });
    insert(&store, &[&full, &bare, &on_cancel, &on_crash]).await;

    for run in [&full, &bare, &on_cancel, &on_crash] {
        assert_eq!(get(&store, run.id).await, *run);
    }
    let details = store.get_details(None, &[full.id]).await.unwrap();
    assert_eq!(details[0].run, full);
    let mut tx = store.begin().await.unwrap();
    let full = [full];
    assert_eq!(tx.lock_runs(&[full[0].id]).await.unwrap(), full);
    assert_eq!(tx.share_runs(&[full[0].id]).await.unwrap(), full);
}

/// In a batch each row keeps its own values, whether they are those of the first row, others, or none.
pub async fn each_row_of_a_batch_keeps_its_own(store: Arc<dyn RunStore>) {
    let paused = || Run {
        pause_key: Some("approve".to_owned()),
        ..entered(&full(), Phase::Paused { holder: None, expires_at: Some(after(8)) }, after(3))
    };
    let ended = || entered(&local(SessionId::new()), Phase::Completed, after(4));
    for n_turns in 0..4 {
        let mut batch = [full(), paused(), ended(), queued()];
        batch.rotate_left(n_turns);
        insert(&store, &batch.each_ref()).await;
        for run in &batch {
            assert_eq!(get(&store, run.id).await, *run);
        }

        let before = [queued(), queued(), queued(), queued()];
        insert(&store, &before.each_ref()).await;
        let mut after_it = [
            Run {
                pause_key: Some("approve".to_owned()),
                started_at: Some(after(1)),
                expires_at: Some(after(9)),
                ..entered(&before[0], Phase::Paused { holder: None, expires_at: Some(after(8)) }, after(3))
            },
            entered(&before[1], running(), after(3)),
            entered(&before[2], Phase::Failed, after(3)),
            before[3].clone(),
        ];
        after_it.rotate_left(n_turns);
        let changes: Vec<_> = after_it.iter().map(|run| (run.clone(), run.started_at)).collect();
        update(&store, &changes).await;
        let events: Vec<EventRow> =
            after_it.iter().map(|run| EventRow { actor: run.pause_key.clone(), ..event(run, 1) }).collect();
        append(&store, &events).await;
        for (run, event) in after_it.iter().zip(events) {
            assert_eq!(get(&store, run.id).await, *run);
            assert_eq!(store.list_events(&run.namespace, run.id, 0, 9).await.unwrap(), [event]);
        }
    }
    let alike = [queued(), queued()];
    insert(&store, &alike.each_ref()).await;
    for run in &alike {
        assert_eq!(get(&store, run.id).await, *run);
    }
}

/// Every phase is read back with its data, for queued and local runs.
pub async fn every_phase_survives(store: Arc<dyn RunStore>) {
    let session = Holder::Session(SessionId::new());
    let phases = [
        Phase::Scheduled,
        Phase::Pending { holder: worker(), start_by: Some(after(5)) },
        Phase::Pending { holder: session.clone(), start_by: None },
        Phase::Running { holder: worker(), deadline: Some(after(6)) },
        Phase::Running { holder: session.clone(), deadline: None },
        Phase::Paused { holder: Some(worker()), expires_at: Some(after(8)) },
        Phase::Paused { holder: Some(session), expires_at: None },
        Phase::Paused { holder: None, expires_at: Some(after(9)) },
        Phase::Paused { holder: None, expires_at: None },
        Phase::Cancelling { holder: worker(), close_at: after(7) },
        Phase::Completed,
        Phase::Failed,
        Phase::Crashed,
        Phase::Cancelled,
    ];
    for phase in phases {
        let inserted = entered(&queued(), phase.clone(), after(3));
        insert(&store, &[&inserted]).await;
        assert_eq!(get(&store, inserted.id).await, inserted);

        let updated = queued();
        insert(&store, &[&updated]).await;
        let updated = entered(&updated, phase, after(4));
        update(&store, &[(updated.clone(), None)]).await;
        assert_eq!(get(&store, updated.id).await, updated);
    }
    for name in StateName::ALL {
        let run = queued();
        let state = State::new(Phase::Scheduled, T0).described(*name, "");
        let run = Run { state, ..run };
        insert(&store, &[&run]).await;
        assert_eq!(get(&store, run.id).await.state.name, *name);
    }
    assert_eq!(StateType::ALL.len(), 9, "a new state type needs a phase above");
}

/// An id that is there already is told, and neither row nor parameters change; also within one slice.
pub async fn an_existing_id_is_not_inserted(store: Arc<dyn RunStore>) {
    let first = queued();
    let other = queued();
    let with = |run: &Run, bytes: &'static [u8]| NewRun { parameters: Some(payload(bytes)), ..bare(run) };
    let mut tx = store.begin().await.unwrap();
    let changed = Run { priority: 5, ..first.clone() };
    let inserted = tx.insert_runs(&[with(&first, b"first"), with(&changed, b"changed")]).await.unwrap();
    assert_eq!(inserted, [true, false]);
    tx.commit().await.unwrap();

    let mut tx = store.begin().await.unwrap();
    let inserted = tx.insert_runs(&[with(&changed, b"late"), with(&other, b"other")]).await.unwrap();
    assert_eq!(inserted, [false, true]);
    tx.commit().await.unwrap();

    let details = store.get_details(None, &[first.id]).await.unwrap();
    assert_eq!((&details[0].run, &details[0].parameters), (&first, &Some(payload(b"first"))));
    assert_eq!(get(&store, other.id).await, other);
}

/// An update writes what may change, and leaves other runs alone.
pub async fn an_update_changes_what_may_change(store: Arc<dyn RunStore>) {
    let expiring = Draft { expires_at: Some(after(99)), ..draft() };
    let (before, bystander) = (made(expiring), queued());
    insert(&store, &[&before, &bystander]).await;
    let changed = Run {
        due_at: after(10),
        expires_at: None,
        started_at: Some(after(11)),
        state: State::new(Phase::Failed, after(12)).described(StateName::TimedOut, "took too long"),
        epoch: Epoch(3),
        attempt: 4,
        crashes: 5,
        retries: 6,
        event_seq: 7,
        cascade_pending: true,
        queue_slot: true,
        resumed_keys: vec!["one".to_owned(), "two".to_owned()],
        ..before.clone()
    };
    update(&store, &[(changed.clone(), Some(after(13)))]).await;
    assert_eq!(get(&store, before.id).await, changed);
    let paused = Run {
        pause_key: Some("three".to_owned()),
        ..entered(&changed, Phase::Paused { holder: None, expires_at: None }, after(14))
    };
    let local = local(SessionId::new());
    insert(&store, &[&local]).await;
    let moved = Run { placement: Placement::Session(SessionId::new()), ..local };
    update(&store, &[(paused.clone(), None), (moved.clone(), None)]).await;
    assert_eq!(get(&store, paused.id).await, paused);
    assert_eq!(get(&store, moved.id).await, moved);
    assert_eq!(get(&store, bystander.id).await, bystander);
    update(&store, &[]).await;
}

/// Details have parameters, result and the failure of the last failed attempt; what is stored anew replaces.
pub async fn details_have_payloads_and_the_last_failure(store: Arc<dyn RunStore>) {
    let (run, other) = (queued(), queued());
    let failure = |message: &str| Failure {
        error_type: "ValueError".to_owned(),
        message: message.to_owned(),
        traceback: "Traceback:\n  line 1".to_owned(),
        non_retryable: message == "third",
    };
    let mut tx = store.begin().await.unwrap();
    let parameters = NewRun { parameters: Some(payload(b"\x00\xff parameters")), ..bare(&run) };
    tx.insert_runs(&[parameters, bare(&other)]).await.unwrap();
    assert_eq!(
        tx.get_parameters(&[run.id, other.id]).await.unwrap(),
        [(run.id, payload(b"\x00\xff parameters"))]
    );
    tx.put_results(&[(run.id, payload(b"early"))]).await.unwrap();
    tx.put_results(&[(run.id, payload(b"result"))]).await.unwrap();
    tx.put_failures(&[(run.id, 9, failure("second")), (run.id, 10, failure("replaced"))]).await.unwrap();
    tx.put_failures(&[(run.id, 10, failure("third"))]).await.unwrap();
    tx.put_results(&[]).await.unwrap();
    tx.put_failures(&[]).await.unwrap();
    tx.commit().await.unwrap();

    let mut details = store.get_details(None, &[run.id, other.id]).await.unwrap();
    details.sort_by_key(|detail| detail.run.id);
    assert_eq!(details.len(), 2);
    assert_eq!(details[0].parameters, Some(payload(b"\x00\xff parameters")));
    assert_eq!(details[0].result, Some(payload(b"result")));
    assert_eq!(details[0].failure, Some(failure("third")));
    assert_eq!(
        (&details[1].parameters, &details[1].result, &details[1].failure),
        (&None::<Payload>, &None, &None)
    );
}

/// What a transaction did is gone when it is dropped, and the next one goes on.
pub async fn a_dropped_transaction_changes_nothing(store: Arc<dyn RunStore>) {
    let (kept, dropped) = (queued(), queued());
    insert(&store, &[&kept]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_runs(&[bare(&dropped)]).await.unwrap();
    tx.lock_runs(&[kept.id]).await.unwrap();
    tx.update_runs(&[(Run { attempt: 5, ..kept.clone() }, None)]).await.unwrap();
    drop(tx);

    let mut tx = within(store.begin()).await.unwrap();
    assert_eq!(within(tx.lock_runs(&[kept.id, dropped.id])).await.unwrap(), [kept]);
}

/// NUL in texts from programs, which Postgres cannot keep, costs the character and not the batch.
pub async fn text_with_nul_does_not_fail_the_batch(store: Arc<dyn RunStore>) {
    let run = Run {
        run_name: "a\0b".to_owned(),
        tags: vec!["t\0".to_owned()],
        labels: [("k".to_owned(), "v\0".to_owned())].into(),
        state: State::new(Phase::Scheduled, T0).described(StateName::Scheduled, "m\0"),
        ..queued()
    };
    insert(&store, &[&run]).await;
    update(&store, &[(run.clone(), None)]).await;
    append(&store, &[event(&run, 1)]).await;
    let failure = Failure {
        error_type: "E\0".into(),
        message: "\0".into(),
        traceback: "x\0y".into(),
        non_retryable: false,
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_failures(&[(run.id, 1, failure)]).await.unwrap();
    tx.commit().await.unwrap();

    let detail = store.get_details(None, &[run.id]).await.unwrap().remove(0);
    assert_eq!(detail.run.run_name, "a\u{fffd}b");
    assert_eq!(detail.run.tags, ["t\u{fffd}"]);
    assert_eq!(detail.run.labels["k"], "v\u{fffd}");
    assert_eq!(detail.run.state.message, "m\u{fffd}");
    assert_eq!(detail.failure.unwrap().traceback, "x\u{fffd}y");
}

/// A read by namespace gives nothing of another one.
pub async fn reads_keep_to_their_namespace(store: Arc<dyn RunStore>) {
    let run = queued();
    insert(&store, &[&run]).await;
    append(&store, &[event(&run, 1)]).await;
    let (own, other) = (&run.namespace, &elsewhere());
    for (namespace, n) in [(own, 1), (other, 0)] {
        assert_eq!(store.get_runs(Some(namespace), &[run.id]).await.unwrap().len(), n);
        assert_eq!(store.get_details(Some(namespace), &[run.id]).await.unwrap().len(), n);
        assert_eq!(store.list_events(namespace, run.id, 0, 10).await.unwrap().len(), n);
        let list = crate::ListQuery::newest(namespace.clone(), crate::Filter::And(Vec::new()), 10);
        assert_eq!(store.list_runs(&list).await.unwrap().len(), n);
    }
    assert_eq!(store.get_runs(None, &[]).await.unwrap(), []);
}

/// A batch of the largest size goes through every call.
pub async fn a_large_batch_survives(store: Arc<dyn RunStore>) {
    let runs: Vec<Run> = (0..tidegate_model::limits::MAX_BATCH_SIZE).map(|_| queued()).collect();
    let new: Vec<NewRun> =
        runs.iter().map(|run| NewRun { parameters: Some(payload(b"p")), ..bare(run) }).collect();
    let ids = ids(&runs);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_runs(&new).await.unwrap().iter().all(|inserted| *inserted));
    tx.append_events(&runs.iter().map(|run| event(run, 1)).collect::<Vec<_>>()).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = store.begin().await.unwrap();
    let locked = tx.lock_runs(&ids).await.unwrap();
    assert_eq!(locked, runs);
    let done: Vec<_> =
        locked.iter().map(|run| (entered(run, Phase::Completed, after(1)), Some(T0))).collect();
    tx.update_runs(&done).await.unwrap();
    tx.put_results(&ids.iter().map(|id| (*id, payload(b"r"))).collect::<Vec<_>>()).await.unwrap();
    tx.commit().await.unwrap();

    let details = store.get_details(None, &ids).await.unwrap();
    assert_eq!(details.len(), runs.len());
    assert!(details.iter().all(|detail| detail.run.state.state_type() == StateType::Completed
        && detail.parameters == Some(payload(b"p"))
        && detail.result == Some(payload(b"r"))));
}

/// What migrated the store is what serves it.
pub async fn the_schema_that_is_there_is_the_one_that_is_known(store: Arc<dyn RunStore>) {
    assert!(store.schema_version() > 0);
    assert_eq!(store.stored_schema_version().await.unwrap(), store.schema_version());
    let server_id = store.server_id().await.unwrap();
    assert_eq!((server_id.len(), store.server_id().await.unwrap()), (32, server_id.clone()));
}

/// It may be that of another machine, whose time is kept.
pub async fn the_store_has_a_clock(store: Arc<dyn RunStore>) {
    const MINUTE: Duration = Duration::from_secs(60);
    let before = SystemClock.now();
    let (first, second) = (store.now().await.unwrap(), store.now().await.unwrap());
    assert!(first <= second, "{first} and then {second}");
    assert!((before - MINUTE..SystemClock.now() + MINUTE).contains(&first), "{first} instead of {before}");
}

use super::support::{Fixture, LONG, SHORT, at, entry, eventually, held, keyed, labels, queue, take, task};
use crate::{Capacity, Entry, Labels, Lease, QueueDepth, QueueId, Requirements, Serving, Standing};

/// Unknown, delayed, ready behind others, claimed, leased, and unknown again.
pub async fn a_run_stands_where_it_was_put(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let (first, second, mut later) = (entry(&q, &f), entry(&q, &f), entry(&q, &f));
    later.due_at = at(90);
    let standing = async |of: &Entry| fixture.other.standing(&of.id, at(0)).await.expect("standing");
    assert_eq!(standing(&first).await, Standing::Unknown);

    let batch = [first.clone(), second.clone(), later.clone()];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");
    assert_eq!(standing(&first).await, Standing::Ready { n_ahead: 0 });
    assert_eq!(standing(&second).await, Standing::Ready { n_ahead: 1 });
    assert_eq!(standing(&later).await, Standing::Delayed { due_at: at(90) });
    let when_due = fixture.other.standing(&later.id, at(90)).await.expect("standing");
    assert_eq!(when_due, Standing::Ready { n_ahead: 2 });

    take(&fixture.delivery, &q, std::slice::from_ref(&f), 1, at(0)).await;
    assert_eq!(standing(&first).await, Standing::Claimed);
    assert_eq!(standing(&second).await, Standing::Ready { n_ahead: 0 });

    let worker_id: tidegate_model::WorkerId = "w-1".parse().expect("a worker id");
    let lease = Lease { held: held(&first, 1), namespace: q.namespace.clone(), worker_id: worker_id.clone() };
    fixture.delivery.lease(&[lease], LONG).await.expect("lease");
    match standing(&first).await {
        Standing::Leased { worker_id: holder, expires_in, .. } => {
            assert_eq!(holder, worker_id);
            assert!(expires_in <= LONG && expires_in > LONG / 2, "{expires_in:?}");
        }
        other => panic!("{other:?}"),
    }
    fixture.delivery.release(&[held(&first, 1)]).await.expect("release");
    fixture.delivery.forget(std::slice::from_ref(&first.id)).await.expect("forget");
    assert_eq!(standing(&first).await, Standing::Unknown);
}

/// A replica's later word replaces its earlier one; other queues, functions and tenants do not count.
pub async fn what_replicas_announce_adds_up_until_it_ends(fixture: Fixture) {
    let serving = |queues: &[&str], functions: &[&str], n_workers| Serving {
        queues: queues.iter().map(|name| queue(name)).collect(),
        functions: functions.iter().map(|name| task(name)).collect(),
        labels: Labels::new(),
        capacity: Capacity { n_workers, n_free_task_slots: 10 * n_workers, n_free_flow_slots: n_workers },
    };
    let capacity = async |q: &str, f: &str| {
        let anything = Requirements::default();
        fixture.other.takers(&queue(q), &task(f), &anything).await.expect("takers").able.n_workers
    };
    assert_eq!(capacity("q", "f").await, 0);
    let first = [serving(&["p", "q"], &["f", "g"], 2), serving(&["q"], &["f"], 3)];
    fixture.delivery.announce("a", &first, LONG).await.expect("announce");
    fixture.other.announce("b", &[serving(&["q"], &["a b:c", "f"], 4)], LONG).await.expect("announce");
    assert_eq!(capacity("q", "f").await, 9);
    assert_eq!(capacity("p", "f").await, 2);
    assert_eq!(capacity("q", "a b:c").await, 4);
    assert_eq!(capacity("q", "nobody's").await, 0);
    let sum = fixture.delivery.takers(&queue("q"), &task("f"), &Requirements::default()).await;
    let sum = sum.expect("takers").able;
    assert_eq!((sum.n_free_task_slots, sum.n_free_flow_slots), (90, 9));
    let of_queue =
        async |q: &str| fixture.other.queue_capacity(&queue(q)).await.expect("queue capacity").n_workers;
    assert_eq!((of_queue("q").await, of_queue("p").await, of_queue("nobodys").await), (9, 2, 0));

    fixture.delivery.announce("a", &[], SHORT).await.expect("announce");
    assert_eq!(capacity("q", "f").await, 4);
    fixture.delivery.announce("b", &[serving(&["q"], &["f"], 1)], SHORT).await.expect("announce");
    eventually("the end of an announcement", async || (capacity("q", "f").await == 0).then_some(())).await;
}

/// Those of another tenant are left out, and a drained queue is told until an hour after its last use.
pub async fn depths_of_a_tenant_are_paged_by_name(fixture: Fixture) {
    let (a, b, c, f) = (queue("a"), queue("b"), queue("c"), task("f"));
    let foreign = QueueId { namespace: "elsewhere".parse().expect("a namespace"), ..b.clone() };
    let mut entries =
        [entry(&a, &f), entry(&b, &f), entry(&b, &task("g")), entry(&c, &f), entry(&foreign, &f)];
    entries[3].due_at = at(90);
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    take(&fixture.delivery, &b, std::slice::from_ref(&f), 1, at(0)).await;
    fixture.delivery.forget(std::slice::from_ref(&entries[0].id)).await.expect("forget");

    let depth = |queue: &QueueId, ready, delayed, claimed| QueueDepth {
        queue: queue.clone(),
        ready,
        delayed,
        claimed,
    };
    let all = [depth(&a, 0, 0, 0), depth(&b, 1, 0, 1), depth(&c, 0, 1, 0)];
    let list = async |after: Option<&QueueId>, limit, seconds| {
        let after = after.map(|queue| &queue.queue);
        fixture.other.depths_of(&a.namespace, after, limit, at(seconds)).await.expect("depths of a tenant")
    };
    assert_eq!(list(None, 10, 1).await, all);
    assert_eq!(list(None, 2, 1).await, all[..2]);
    assert_eq!(list(Some(&b), 10, 1).await, all[2..]);
    assert_eq!(list(None, 10, 3_700).await, all[1..], "an hour after its last use");
    assert_eq!(fixture.other.depth(&b).await.expect("depth"), all[1]);
    assert_eq!(
        fixture.other.depth(&queue("unknown")).await.expect("depth"),
        depth(&queue("unknown"), 0, 0, 0)
    );
}

/// Workers without the labels that a run requires are told apart from those that do not serve it at all.
pub async fn takers_have_the_labels_that_a_run_requires(fixture: Fixture) {
    let serving = |of: &[(&str, &str)], n_workers| Serving {
        queues: vec![queue("q")],
        functions: vec![task("f")],
        labels: labels(of),
        capacity: Capacity { n_workers, n_free_task_slots: 0, n_free_flow_slots: 0 },
    };
    let servings =
        [serving(&[], 1), serving(&[("gpu", "true")], 2), serving(&[("gpu", "a=b"), ("x", "")], 4)];
    fixture.delivery.announce("a", &servings, LONG).await.expect("announce");
    for (required, n_able) in
        [(vec![], 7), (vec![("gpu", "true")], 2), (vec![("gpu", "a=b"), ("x", "")], 4), (vec![("x", "1")], 0)]
    {
        let requires = Requirements::new(&labels(&required));
        let takers = fixture.other.takers(&queue("q"), &task("f"), &requires).await.expect("takers");
        assert_eq!((takers.able.n_workers, takers.n_serving), (n_able, 7), "{required:?}");
    }
}

/// Those of its group before it, and a turn of each other group for each of them, as far as those have entries.
pub async fn a_run_with_a_key_stands_behind_the_turns_of_others(fixture: Fixture) {
    let (q, f) = (queue("q"), task("f"));
    let many: Vec<_> = (0..5).map(|_| keyed(&q, &f, "many")).collect();
    let few: Vec<_> = (0..2).map(|_| keyed(&q, &f, "few")).collect();
    fixture.delivery.enqueue(&many, at(0)).await.expect("enqueue");
    fixture.delivery.enqueue(&few, at(0)).await.expect("enqueue");
    for (entry, expected) in [(&many[0], 0), (&few[0], 1), (&many[1], 2), (&few[1], 3), (&many[4], 6)] {
        let standing = fixture.other.standing(&entry.id, at(0)).await.expect("standing");
        assert_eq!(standing, Standing::Ready { n_ahead: expected });
    }
    let mut later = keyed(&q, &f, "few");
    later.due_at = at(9);
    fixture.delivery.enqueue(std::slice::from_ref(&later), at(0)).await.expect("enqueue");
    let standing = async |now| fixture.other.standing(&later.id, at(now)).await.expect("standing");
    assert_eq!(standing(0).await, Standing::Delayed { due_at: at(9) });
    assert_eq!(standing(9).await, Standing::Ready { n_ahead: 7 });
    take(&fixture.delivery, &q, &[f], 8, at(9)).await;
    assert_eq!(standing(9).await, Standing::Claimed);
}

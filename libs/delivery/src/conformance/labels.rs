use super::support::{Fixture, at, entry, labels, queue, runs, take, take_with, task, with_epoch};
use crate::{Entry, QueueId, Requirements};

fn requiring(queue: &QueueId, required: &[(&str, &str)]) -> Entry {
    let mut entry = entry(queue, &task("f"));
    entry.id.requires = Requirements::new(&labels(required));
    entry
}

/// Further labels of a worker do no harm, and what requires none goes to anybody. Order holds across requirements.
pub async fn requirements_are_met_by_all_of_their_labels(fixture: Fixture) {
    let q = queue("q");
    let functions = [task("f")];
    let anywhere = requiring(&q, &[]);
    let (gpu, large) = (requiring(&q, &[("gpu", "true")]), requiring(&q, &[("gpu", "true"), ("size", "l")]));
    let mut urgent = requiring(&q, &[("gpu", "true")]);
    urgent.priority = 5;
    let batch = [anywhere.clone(), gpu.clone(), large.clone(), urgent.clone()];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");
    for wrong in [&[("gpu", "false")][..], &[("gpu", "")], &[("size", "l")], &[("gp", "true")]] {
        let got = take_with(&fixture.delivery, &q, &functions, &labels(wrong), 9, at(0)).await;
        fixture.delivery.put_back(&got.entries, at(0)).await.expect("put back");
        assert_eq!(got.entries, std::slice::from_ref(&anywhere), "{wrong:?}");
    }
    let worker = labels(&[("a", "b"), ("gpu", "true"), ("z", "")]);
    let got = take_with(&fixture.other, &q, &functions, &worker, 9, at(0)).await;
    assert_eq!(got.entries, [urgent, anywhere, gpu]);
    let worker = labels(&[("gpu", "true"), ("size", "l")]);
    let got = take_with(&fixture.other, &q, &[task("g")], &worker, 9, at(0)).await;
    assert_eq!(got.entries, []);
    let got = take_with(&fixture.other, &q, &functions, &worker, 9, at(0)).await;
    assert_eq!(got.entries, [large]);
}

/// However many there are and however urgent.
pub async fn what_nobody_can_take_blocks_nobody(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    let mut stuck: Vec<_> = (0..100).map(|_| requiring(&q, &[("gpu", "true")])).collect();
    stuck.iter_mut().for_each(|entry| entry.priority = 100);
    fixture.delivery.enqueue(&stuck, at(0)).await.expect("enqueue");
    let free = requiring(&q, &[]);
    fixture.delivery.enqueue(std::slice::from_ref(&free), at(0)).await.expect("enqueue");
    assert_eq!(take(&fixture.delivery, &q, &functions, 10, at(0)).await.entries, [free]);
    let got = take_with(&fixture.delivery, &q, &functions, &labels(&[("gpu", "true")]), 200, at(0)).await;
    assert_eq!(runs(&got.entries), runs(&stuck));
}

/// Taken, put back, delayed and forgotten with all that they require; then nothing is kept.
pub async fn nothing_is_left_of_requirements(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    let worker = labels(&[("gpu", "true"), ("size", "l")]);
    let mut first = with_epoch(&requiring(&q, &[("gpu", "true")]), 3);
    let mut second = requiring(&q, &[("gpu", "true"), ("size", "l")]);
    second.due_at = at(50);
    let batch = [first.clone(), second.clone(), requiring(&q, &[("gpu", "no")])];
    fixture.delivery.enqueue(&batch, at(0)).await.expect("enqueue");
    let got = take_with(&fixture.delivery, &q, &functions, &worker, 9, at(0)).await;
    assert_eq!(got.entries, std::slice::from_ref(&first));
    first.due_at = at(10);
    fixture.delivery.put_back(std::slice::from_ref(&first), at(0)).await.expect("put back");
    let got = take_with(&fixture.delivery, &q, &functions, &worker, 9, at(0)).await;
    assert_eq!((got.entries, got.next_in), (Vec::new(), Some(std::time::Duration::from_secs(10))));
    let depths = fixture.other.depths(at(0)).await.expect("depths");
    assert_eq!((depths[0].ready, depths[0].delayed), (1, 2));

    fixture.delivery.forget(&batch.map(|entry| entry.id)).await.expect("forget");
    let got = take_with(&fixture.delivery, &q, &functions, &worker, 9, at(99)).await;
    assert_eq!((got.entries, (fixture.footprint)().await), (Vec::new(), 0));
}

/// A thousand others, with other values and with the same first label.
pub async fn many_requirements_do_not_hide_the_one_that_is_met(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    let mut others = Vec::new();
    for n in 0..1_000 {
        others.push(requiring(&q, &[("host", &format!("h{n}"))]));
    }
    for n in 0..100 {
        others.push(requiring(&q, &[("gpu", "true"), ("host", &format!("h{n}"))]));
    }
    fixture.delivery.enqueue(&others, at(0)).await.expect("enqueue");
    let mine = requiring(&q, &[("host", "mine")]);
    let mine_too = requiring(&q, &[("gpu", "true"), ("host", "mine")]);
    fixture.delivery.enqueue(&[mine.clone(), mine_too.clone()], at(0)).await.expect("enqueue");
    let worker = labels(&[("gpu", "true"), ("host", "mine")]);
    let got = take_with(&fixture.delivery, &q, &functions, &worker, 9, at(0)).await;
    assert_eq!(got.entries, [mine, mine_too]);
}

/// Thousands of them that require the same label.
pub async fn requirements_of_other_functions_hide_nothing(fixture: Fixture) {
    let q = queue("q");
    let mut others = Vec::new();
    for n in 0..5_000 {
        let mut other = requiring(&q, &[("gpu", "true")]);
        other.id.function = task(&format!("other-{n}"));
        others.push(other);
    }
    fixture.delivery.enqueue(&others, at(0)).await.expect("enqueue");
    let depth = fixture.other.depth(&q).await.expect("depth");
    assert_eq!((depth.ready, depth.delayed), (5_000, 0));
    let worker = labels(&[("gpu", "true")]);
    let mut mine = requiring(&q, &[("gpu", "true")]);
    mine.due_at = at(30);
    fixture.delivery.enqueue(std::slice::from_ref(&mine), at(0)).await.expect("enqueue");
    for _ in 0..3 {
        let got = take_with(&fixture.delivery, &q, &[task("f")], &worker, 9, at(0)).await;
        assert_eq!((got.entries, got.next_in), (Vec::new(), Some(std::time::Duration::from_secs(30))));
    }
    let got = take_with(&fixture.delivery, &q, &[task("f")], &worker, 9, at(30)).await;
    assert_eq!(got.entries, [mine]);
    let got = take_with(&fixture.delivery, &q, &[task("other-7")], &worker, 9, at(30)).await;
    assert_eq!(got.entries, [others.swap_remove(7)]);
}

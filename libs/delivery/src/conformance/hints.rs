use std::time::Duration;

use tidegate_model::{Epoch, RunId};

use super::support::{Fixture, at, entry, queue, task};
use crate::{Hint, Hints, Pausable, PoolId, ReadyHint, Stop};

/// The next hint that is not a warning that some were missed.
async fn next(hints: &mut Hints) -> Hint {
    let waiting = async {
        loop {
            let hint = hints.next().await;
            if hint != Hint::Missed {
                return hint;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("a hint")
}

/// One for each queue of a batch, with the earliest time.
pub async fn hints_reach_every_replica(fixture: Fixture) {
    let (mut near, mut far) = (fixture.delivery.hints(), fixture.other.hints());
    let (a, b) = (queue("a"), queue("b"));
    let mut entries = [entry(&a, &task("f")), entry(&b, &task("f")), entry(&a, &task("g"))];
    (entries[0].due_at, entries[2].due_at) = (at(9), at(7));
    fixture.delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    let expected = [ReadyHint { queue: a, due_at: at(7) }, ReadyHint { queue: b, due_at: at(0) }];
    for hints in [&mut near, &mut far] {
        let Hint::Ready(mut ready) = next(hints).await else { panic!("a hint of something ready") };
        ready.sort_by(|a, b| a.queue.cmp(&b.queue));
        assert_eq!(ready, expected);
    }
}

/// With all that the holder needs.
pub async fn stops_reach_every_replica(fixture: Fixture) {
    let (mut near, mut far) = (fixture.delivery.hints(), fixture.other.hints());
    let stops: Vec<_> = ["", "asked by ä\nperson", &"m".repeat(1_024)]
        .into_iter()
        .map(|message| Stop {
            run_id: RunId::new(),
            epoch: Epoch(1 << 40),
            grace: (!message.is_empty()).then_some(Duration::from_millis(1_500)),
            message: message.to_owned(),
        })
        .collect();
    fixture.delivery.stop(&stops).await.expect("stop");
    for hints in [&mut near, &mut far] {
        assert_eq!(next(hints).await, Hint::Stop(stops.clone()));
    }
}

/// By its name.
pub async fn that_a_queue_is_resumed_reaches_every_replica(fixture: Fixture) {
    let (mut near, mut far) = (fixture.delivery.hints(), fixture.other.hints());
    let queue = queue("a.B-c_1");
    let work_pool = "a.B-c_1".parse().expect("is a name");
    let pool = PoolId { namespace: queue.namespace.clone(), work_pool };
    for resumed in [Pausable::Queue(queue), Pausable::Pool(pool)] {
        fixture.delivery.resumed(&resumed).await.expect("resumed");
        for hints in [&mut near, &mut far] {
            assert_eq!(next(hints).await, Hint::Resumed(resumed.clone()));
        }
    }
}

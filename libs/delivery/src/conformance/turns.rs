use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tidegate_model::{RunId, limits::MAX_BATCH_SIZE};

use super::support::{Fixture, at, keyed, queue, runs, take, task, with_epoch};
use crate::{Delivery, Entry, Function, QueueId};

/// The keys of entries, in their order.
fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.fairness_key.as_ref().map_or("", |key| key.as_str())).collect()
}

async fn enqueue(
    delivery: &Arc<dyn Delivery>,
    queue: &QueueId,
    f: &Function,
    key: &str,
    n: usize,
) -> Vec<Entry> {
    let entries: Vec<_> = (0..n).map(|_| keyed(queue, f, key)).collect();
    delivery.enqueue(&entries, at(0)).await.expect("enqueue");
    entries
}

/// One with many entries gets no more than its turn, from one take to the next and at each replica.
pub async fn groups_take_turns(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    let many = enqueue(&fixture.delivery, &q, &functions[0], "many", 50).await;
    for key in ["a", "b"] {
        enqueue(&fixture.delivery, &q, &functions[0], key, 3).await;
    }
    let got = take(&fixture.delivery, &q, &functions, 4, at(0)).await.entries;
    assert_eq!(keys(&got), ["many", "a", "b", "many"]);
    let got = take(&fixture.other, &q, &functions, 7, at(0)).await.entries;
    assert_eq!(keys(&got), ["a", "b", "many", "a", "b", "many", "many"]);
    let got = take(&fixture.delivery, &q, &functions, 100, at(0)).await.entries;
    assert_eq!(runs(&got), runs(&many[5..]));
}

/// However many it has, nobody waits for longer than a round.
pub async fn one_with_a_hundred_thousand_keeps_nobody_waiting(fixture: Fixture) {
    const N_MANY: usize = 100_000;
    const N_OTHERS: usize = 9;
    const N_EACH: usize = 10;
    let (q, functions) = (queue("q"), [task("f")]);
    for _ in 0..N_MANY / MAX_BATCH_SIZE {
        enqueue(&fixture.delivery, &q, &functions[0], "many", MAX_BATCH_SIZE).await;
    }
    let others: Vec<_> = (0..N_OTHERS).map(|n| format!("other-{n}")).collect();
    for other in &others {
        enqueue(&fixture.delivery, &q, &functions[0], other, N_EACH).await;
    }
    let mut got = Vec::new();
    while got.len() < (N_OTHERS + 1) * N_EACH {
        got.extend(take(&fixture.other, &q, &functions, 7, at(0)).await.entries);
    }
    // Each round has one of each.
    for round in keys(&got).chunks_exact(N_OTHERS + 1).take(N_EACH) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round[0], "many");
        assert!(round[1..].iter().copied().eq(others.iter()), "{round:?}");
    }
    let depth = fixture.delivery.depth(&q).await.expect("depth");
    assert_eq!((depth.ready + depth.delayed + depth.claimed) as usize, N_MANY + N_OTHERS * N_EACH);
}

/// It neither overtakes those who wait, again and again, nor waits until they have nothing left.
pub async fn a_group_that_comes_waits_for_one_round(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    enqueue(&fixture.delivery, &q, &functions[0], "a", 10).await;
    enqueue(&fixture.delivery, &q, &functions[0], "b", 10).await;
    let mut got = Vec::new();
    for n in 0..4 {
        enqueue(&fixture.delivery, &q, &functions[0], &format!("new-{n}"), 1).await;
        got.extend(take(&fixture.delivery, &q, &functions, 2, at(0)).await.entries);
    }
    assert_eq!(keys(&got), ["a", "b", "new-0", "a", "b", "new-1", "a", "new-2"]);
}

/// Turns are taken among entries of the same priority, and what was urgent counts as a turn.
pub async fn priority_goes_before_turns(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    let mut urgent: Vec<_> = (0..3).map(|_| keyed(&q, &functions[0], "a")).collect();
    urgent.iter_mut().for_each(|entry| entry.priority = 9);
    enqueue(&fixture.delivery, &q, &functions[0], "a", 2).await;
    enqueue(&fixture.delivery, &q, &functions[0], "b", 2).await;
    fixture.delivery.enqueue(&urgent, at(0)).await.expect("enqueue");
    let mut plain = keyed(&q, &functions[0], "");
    plain.priority = 10;
    fixture.delivery.enqueue(&[plain], at(0)).await.expect("enqueue");
    let got = take(&fixture.delivery, &q, &functions, 5, at(0)).await.entries;
    assert_eq!(keys(&got), ["", "a", "a", "a", "b"]);
    let got = take(&fixture.delivery, &q, &functions, 5, at(0)).await.entries;
    assert_eq!(keys(&got), ["a", "b", "a"]);
}

/// Fairness is that of the queue: who is served through one function waits for the others in all.
pub async fn a_group_takes_its_turn_in_all_functions_at_once(fixture: Fixture) {
    let q = queue("q");
    let [f, g] = [task("f"), task("g")];
    for key in ["a", "b", "c"] {
        enqueue(&fixture.delivery, &q, &g, key, 2).await;
    }
    enqueue(&fixture.delivery, &q, &f, "a", 3).await;
    // Through f alone, which only `a` has.
    let got = take(&fixture.delivery, &q, std::slice::from_ref(&f), 2, at(0)).await.entries;
    assert_eq!(keys(&got), ["a", "a"]);
    let got = take(&fixture.other, &q, &[f.clone(), g.clone()], 4, at(0)).await.entries;
    assert_eq!(keys(&got), ["b", "c", "a", "b"]);
    // Within a group the earliest comes first, whatever its function.
    assert_eq!(got[2].id.function, g);
    let got = take(&fixture.other, &q, &[f.clone(), g], 9, at(0)).await.entries;
    assert_eq!(keys(&got), ["c", "a", "a"]);
    assert_eq!(got[2].id.function, f);
}

/// All of them together take one turn.
pub async fn entries_without_a_key_are_one_group(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f"), task("g")]);
    let plain = enqueue(&fixture.delivery, &q, &functions[0], "", 4).await;
    let more = enqueue(&fixture.delivery, &q, &functions[1], "", 4).await;
    enqueue(&fixture.delivery, &q, &functions[1], "a", 3).await;
    let got = take(&fixture.delivery, &q, &functions, 7, at(0)).await.entries;
    assert_eq!(keys(&got), ["", "a", "", "a", "", "a", ""]);
    let got = take(&fixture.delivery, &q, &functions, 7, at(0)).await.entries;
    assert_eq!(runs(&got), runs(&more));
    assert_eq!(plain.len(), 4);
}

/// Whatever way an entry takes, it comes out with its key and its preferred worker, and counts for its group.
pub async fn a_key_is_kept_by_delays_claims_and_epochs(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f")]);
    let mut entry = with_epoch(&keyed(&q, &functions[0], "a key, größe"), 4);
    (entry.priority, entry.due_at) = (-7, at(10));
    entry.prefers = Some("host 1:4711:x".parse().expect("a worker id"));
    let mut other = keyed(&q, &functions[0], "other");
    other.due_at = at(10);
    fixture.delivery.enqueue(&[entry.clone(), other.clone()], at(0)).await.expect("enqueue");
    fixture.delivery.enqueue(&[entry.clone(), other.clone()], at(20)).await.expect("enqueue again");
    let got = take(&fixture.delivery, &q, &functions, 9, at(10)).await.entries;
    assert_eq!(got, [other.clone(), entry.clone()]);
    entry.due_at = at(15);
    fixture.delivery.put_back(std::slice::from_ref(&entry), at(10)).await.expect("put back");
    assert_eq!(take(&fixture.delivery, &q, &functions, 9, at(10)).await.entries, []);
    // Ready as well as delayed, a later epoch takes the place of an earlier one.
    for (epoch, due) in [(5, 30), (6, 12), (7, 30), (8, 11)] {
        entry = with_epoch(&entry, epoch);
        entry.due_at = at(due);
        fixture.delivery.enqueue(std::slice::from_ref(&entry), at(12)).await.expect("enqueue");
        let depths = fixture.other.depths(at(12)).await.expect("depths");
        let depth = (depths[0].ready, depths[0].delayed, depths[0].claimed);
        assert_eq!(depth, if due > 12 { (0, 1, 1) } else { (1, 0, 1) });
    }
    assert_eq!(take(&fixture.delivery, &q, &functions, 9, at(12)).await.entries, [entry.clone()]);
    fixture.delivery.forget(&[entry.id, other.id]).await.expect("forget");
    assert_eq!((fixture.footprint)().await, 0);
}

/// Neither when entries are taken nor when they are forgotten.
pub async fn nothing_is_left_of_turns(fixture: Fixture) {
    let (q, functions) = (queue("q"), [task("f"), task("g")]);
    let mut all = Vec::new();
    for n in 0..40 {
        let key = if n % 5 == 0 { String::new() } else { format!("k{}", n % 7) };
        all.extend(enqueue(&fixture.delivery, &q, &functions[n % 2], &key, 3).await);
    }
    let taken = take(&fixture.delivery, &q, &functions, 70, at(0)).await.entries;
    let taken_ids: HashSet<RunId> = runs(&taken).into_iter().collect();
    let ids: Vec<_> = all.iter().map(|entry| entry.id.clone()).collect();
    let (of_taken, of_ready): (Vec<_>, Vec<_>) =
        ids.into_iter().partition(|id| taken_ids.contains(&id.run_id));
    fixture.other.forget(&of_ready).await.expect("forget");
    assert_eq!(take(&fixture.delivery, &q, &functions, 70, at(0)).await.entries, []);
    fixture.other.forget(&of_taken).await.expect("forget");
    assert_eq!((fixture.footprint)().await, 0);
}

/// A random course of enqueues, takes by functions, put-backs and forgets gives what the model gives.
pub async fn turns_are_those_of_a_simple_model(fixture: Fixture) {
    let seed = match std::env::var("TIDEGATE_TEST_SEED") {
        Ok(seed) => seed.parse().expect("the seed is a number"),
        Err(_) => RunId::new().as_uuid().as_u64_pair().1,
    };
    println!("TIDEGATE_TEST_SEED={seed}");
    let mut chance = Chance(seed);
    let (q, functions) = (queue("q"), [task("f"), task("g"), task("h")]);
    let mut model = Model::default();
    let mut taken: Vec<Entry> = Vec::new();
    for _ in 0..300 {
        match chance.below(6) {
            0 | 1 => {
                let entries: Vec<_> = (0..=chance.below(4))
                    .map(|_| {
                        let key = ["", "a", "b", "c", "d"][chance.below(5)];
                        let mut entry = keyed(&q, &functions[chance.below(3)], key);
                        entry.priority = [0, 0, 0, 5][chance.below(4)];
                        entry.due_at = at(0) - Duration::from_secs(chance.below(3) as u64);
                        entry
                    })
                    .collect();
                for entry in &entries {
                    // One by one: a batch is taken apart by function, and the model knows no order of functions.
                    fixture.delivery.enqueue(std::slice::from_ref(entry), at(0)).await.expect("enqueue");
                }
                model.add(entries);
            }
            2 if !taken.is_empty() => {
                let entry = taken.swap_remove(chance.below(taken.len()));
                fixture.other.put_back(std::slice::from_ref(&entry), at(0)).await.expect("put back");
                model.add(vec![entry]);
            }
            3 if !model.ready.is_empty() => {
                let entry = model.ready.swap_remove(chance.below(model.ready.len()));
                fixture.other.forget(std::slice::from_ref(&entry.id)).await.expect("forget");
                model.settle();
            }
            _ => {
                let mask = 1 + chance.below(7);
                let served = functions.iter().enumerate().filter(|(idx, _)| mask & (1 << idx) != 0);
                let served: Vec<_> = served.map(|(_, function)| function.clone()).collect();
                let limit = 1 + chance.below(5);
                let got = take(&fixture.delivery, &q, &served, limit, at(0)).await.entries;
                assert_eq!(got, model.take(&served, limit));
                taken.extend(got);
            }
        }
    }
}

/// What [`Delivery`] says of turns, without any regard to cost.
#[derive(Default)]
struct Model {
    ready: Vec<Entry>,
    turns: BTreeMap<String, u64>,
    latest: u64,
}

impl Model {
    fn turn(&self, entry: &Entry) -> u64 {
        self.turns.get(keys(std::slice::from_ref(entry))[0]).copied().unwrap_or(0)
    }

    fn go_last(&mut self, key: &str) {
        self.latest += 1;
        self.turns.insert(key.to_owned(), self.latest);
    }

    fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let key = keys(std::slice::from_ref(&entry))[0].to_owned();
            if !key.is_empty() && !self.turns.contains_key(&key) {
                self.go_last(&key);
            }
            self.ready.push(entry);
        }
    }

    fn take(&mut self, functions: &[Function], limit: usize) -> Vec<Entry> {
        let mut got = Vec::new();
        while got.len() < limit {
            let served = self.ready.iter().enumerate();
            let served = served.filter(|(_, entry)| functions.contains(&entry.id.function));
            let best = served
                .min_by_key(|(_, entry)| (-entry.priority, self.turn(entry), entry.due_at, entry.id.run_id));
            let Some((idx, _)) = best else { break };
            let entry = self.ready.swap_remove(idx);
            let has_turns = self.turns.keys().any(|key| !key.is_empty());
            if has_turns {
                self.go_last(keys(std::slice::from_ref(&entry))[0]);
            }
            self.settle();
            got.push(entry);
        }
        got
    }

    /// Groups without entries are forgotten, and all turns with the last of them.
    fn settle(&mut self) {
        let waiting: HashSet<String> =
            keys(&self.ready).into_iter().map(str::to_owned).filter(|key| !key.is_empty()).collect();
        if waiting.is_empty() {
            (self.turns, self.latest) = (BTreeMap::new(), 0);
        }
        self.turns.retain(|key, _| key.is_empty() || waiting.contains(key));
    }
}

/// Evenly drawn numbers from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    /// 0 up to `bound`, which is excluded.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 32).expect("32 bits") % bound
    }
}

//! A filter means the same in memory and in the database.

use std::sync::Arc;

use tidegate_model::{RunId, RunKind, SessionId, Timestamp};
use tidegate_orchestration::{CachePolicy, Draft, Holder, Phase, Placement, Run, State, StateName, create};

use super::fixture::*;
use crate::{Comparison, Field, Filter, ListQuery, RunStore, Value, adapter};

const N_RUNS: u64 = 40;
const N_NESTED: usize = 400;
/// Texts with what databases could take for more than text, and in another order than the letters'.
const WORDS: [&str; 8] = ["etl", "etl/daily", "Zip", "zip", "100%", "it's", "a\\b", "Überlauf"];

/// Each field by each comparison with values that runs have, and random filters made of those: the database gives the
/// runs that `Filter::matches` is true for. `TIDEGATE_TEST_SEED` repeats the run of a printed seed.
pub async fn filters_mean_the_same_in_memory(store: Arc<dyn RunStore>) {
    let mut chance = Chance::drawn();
    let mut runs: Vec<Run> = Vec::new();
    for n in 0..N_RUNS {
        let parent = chance.one_of(&runs).filter(|_| n % 3 > 0).cloned();
        runs.push(random_run(&mut chance, parent.as_ref()));
    }
    insert(&store, &runs.iter().collect::<Vec<_>>()).await;

    let atoms = atoms(&runs);
    for atom in &atoms {
        check(&store, &runs, atom).await;
    }
    for _ in 0..N_NESTED {
        check(&store, &runs, &nested(&mut chance, &atoms, 3)).await;
    }
}

async fn check(store: &Arc<dyn RunStore>, runs: &[Run], filter: &Filter) {
    let query = ListQuery::newest("default".parse().unwrap(), filter.clone(), runs.len());
    let listed = ids(&store.list_runs(&query).await.unwrap());
    let mut matched: Vec<RunId> = runs.iter().filter(|run| filter.matches(run)).map(|run| run.id).collect();
    matched.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(listed, matched, "the database, and matches: {filter:?}");
}

/// Every comparison that a field takes, with values of some of the runs.
fn atoms(runs: &[Run]) -> Vec<Filter> {
    let mut atoms = Vec::new();
    for field in Field::ALL {
        atoms.push(Filter::IsSet(*field));
        let mut values: Vec<Value> = Vec::new();
        for value in runs.iter().flat_map(|run| values_of(run, *field)) {
            if !values.contains(&value) && values.len() < 9 {
                values.push(value);
            }
        }
        for value in values {
            let is_comparable =
                |comparison: &&Comparison| adapter::comparable(*field, **comparison, &value).is_ok();
            let comparisons: Vec<&Comparison> = Comparison::ALL.iter().filter(is_comparable).collect();
            assert!(!comparisons.is_empty(), "{field:?} compares with what runs have in it: {value:?}");
            let atom = |comparison: &Comparison| Filter::Compare(*field, *comparison, value.clone());
            atoms.extend(comparisons.into_iter().map(atom));
        }
    }
    atoms
}

/// What a run has in a field, and a value beside it.
fn values_of(run: &Run, field: Field) -> Vec<Value> {
    let text = |text: &str| parts(text).map(Value::Text).to_vec();
    let time = |time: Timestamp| vec![Value::Time(time)];
    let number = |number: u32| vec![Value::Number(number.into())];
    let (queue, session) = adapter::placement_columns(&run.placement);
    match field {
        Field::Id => vec![Value::Run(run.id)],
        Field::State => vec![Value::State(run.state.state_type())],
        Field::StateName => text(run.state.name.as_str()),
        Field::Kind => vec![Value::Kind(run.kind)],
        Field::Name => text(run.name.as_str()),
        Field::RunName => text(&run.run_name),
        Field::Queue => queue.map(text).unwrap_or_default(),
        Field::Session => session.map(Value::Session).into_iter().collect(),
        Field::Holder => run.holder().map(|holder| text(&holder.to_string())).unwrap_or_default(),
        Field::Deployment => run.deployment.as_deref().map(text).unwrap_or_default(),
        Field::WorkPool => run.work_pool.as_ref().map(|pool| text(pool.as_str())).unwrap_or_default(),
        Field::Schedule => run.schedule.as_ref().map(|name| text(name.as_str())).unwrap_or_default(),
        Field::CacheKey => run.cache.as_ref().map(|cache| text(&cache.key)).unwrap_or_default(),
        Field::FairnessKey => run.fairness_key.as_ref().map(|key| text(key.as_str())).unwrap_or_default(),
        Field::Tags => run.tags.iter().map(|tag| Value::Text(tag.clone())).collect(),
        Field::Labels => run.labels.iter().flat_map(|(key, value)| label_values(key, value)).collect(),
        Field::Parent => run.parent.map(Value::Run).into_iter().collect(),
        Field::Root => vec![Value::Run(run.root), Value::Run(run.id)],
        Field::Depth => number(run.depth),
        Field::Attempt => number(run.attempt),
        Field::Crashes => number(run.crashes),
        Field::Retries => number(run.retries),
        Field::Priority => vec![Value::Number(run.priority.into())],
        Field::CreatedAt => time(run.created_at),
        Field::DueAt => time(run.due_at),
        Field::FireAt => run.fire_at.map(time).unwrap_or_default(),
        Field::ExpiresAt => run.expires_at.map(time).unwrap_or_default(),
        Field::StartedAt => run.started_at.map(time).unwrap_or_default(),
        Field::EndedAt => adapter::ended_at(run).map(time).unwrap_or_default(),
    }
}

/// A text, its beginning and its end.
fn parts(text: &str) -> [String; 3] {
    let (first, last) = (text.chars().next(), text.chars().last());
    [text.to_owned(), String::from_iter(first), String::from_iter(last)]
}

fn label_values(key: &str, value: &str) -> Vec<Value> {
    let label = |text: String| Value::Label { key: key.to_owned(), text };
    let mut values = vec![Value::Text(key.to_owned())];
    values.extend(parts(value).map(label));
    values
}

fn nested(chance: &mut Chance, atoms: &[Filter], depth: u64) -> Filter {
    let kind = if depth == 0 { 0 } else { chance.below(4) };
    if kind == 0 {
        return chance.one_of(atoms).unwrap().clone();
    }
    if kind == 1 {
        return Filter::Not(Box::new(nested(chance, atoms, depth - 1)));
    }
    let parts = (0..chance.below(4)).map(|_| nested(chance, atoms, depth - 1)).collect();
    if kind == 2 { Filter::And(parts) } else { Filter::Or(parts) }
}

/// A run with many of its fields drawn, so that several runs have the same, or none.
pub(super) fn random_run(chance: &mut Chance, parent: Option<&Run>) -> Run {
    let mut word = || (*chance.one_of(&WORDS).unwrap()).to_owned();
    let (name, run_name, tags) = (word(), word(), [word(), word(), word()]);
    let labels = [("team", word()), ("a.b/c-d_1", word()), ("7", String::new())];
    let (deployment, cache_key, fairness_key) = (word(), word(), word());
    let placement = if chance.below(3) == 0 {
        Placement::Session(SessionId::new())
    } else {
        Placement::Queue(chance.one_of(&["cpu", "gpu", "Gpu"]).unwrap().parse().unwrap())
    };
    let draft = Draft {
        kind: *chance.one_of(&[RunKind::Flow, RunKind::Task]).unwrap(),
        name: name.parse().unwrap(),
        run_name,
        placement,
        parent: parent.map(|parent| parent.id),
        priority: i32::try_from(chance.below(5)).unwrap() - 2,
        tags: tags.into_iter().take(usize::try_from(chance.below(4)).unwrap()).collect(),
        labels: labels
            .into_iter()
            .filter(|_| chance.below(2) == 0)
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        deployment: (chance.below(2) == 0).then_some(deployment),
        work_pool: (chance.below(2) == 0).then(|| chance.one_of(&["Lab", "lab-2"]).unwrap().parse().unwrap()),
        schedule: (chance.below(2) == 0)
            .then(|| chance.one_of(&["Daily", "nightly"]).unwrap().parse().unwrap()),
        fire_at: (chance.below(2) == 0).then(|| after(chance.below(10))),
        cache: (chance.below(2) == 0).then_some(CachePolicy { key: cache_key, expires_after: None }),
        fairness_key: fairness_key.parse().ok().filter(|_| chance.below(2) == 0),
        ..draft()
    };
    // Whatever became of the parent since: a parent that has ended gets no child.
    let open = parent.map(|parent| entered(parent, running(), T0));
    let run = create(draft, open.as_ref(), after(chance.below(10))).unwrap().run;
    let phase = match (chance.below(6), &run.placement) {
        (0, _) => running(),
        (1, Placement::Session(session)) => {
            Phase::Pending { holder: Holder::Session(*session), start_by: None }
        }
        (1, Placement::Queue(_)) => Phase::Scheduled,
        (2, _) => Phase::Cancelling { holder: worker(), close_at: after(90) },
        (3, _) => Phase::Completed,
        (4, _) => Phase::Failed,
        _ => Phase::Crashed,
    };
    let name = *chance.one_of(StateName::ALL).unwrap();
    Run {
        attempt: u32::try_from(chance.below(4)).unwrap(),
        crashes: u32::try_from(chance.below(3)).unwrap(),
        retries: u32::try_from(chance.below(3)).unwrap(),
        due_at: after(chance.below(10)),
        expires_at: (chance.below(2) == 0).then(|| after(20 + chance.below(10))),
        started_at: (chance.below(2) == 0).then(|| after(chance.below(10))),
        state: State::new(phase, after(chance.below(10))).described(name, ""),
        ..run
    }
}

/// Evenly drawn numbers from a seed (splitmix64).
pub(super) struct Chance(u64);

impl Chance {
    /// From a seed that is printed, or that of `TIDEGATE_TEST_SEED`.
    pub fn drawn() -> Self {
        let seed = match std::env::var("TIDEGATE_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => RunId::new().as_uuid().as_u64_pair().1,
        };
        println!("TIDEGATE_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to `bound`, which is excluded.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of the items, if there are any.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let bound = u64::try_from(items.len()).unwrap().max(1);
        items.get(usize::try_from(self.below(bound)).unwrap())
    }
}

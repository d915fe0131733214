//! Concurrency limits: who gets a slot, who waits, and that no slot is ever lost or given twice.

mod collisions;
#[path = "../common/mod.rs"]
mod common;
mod held;
mod line;
mod rates;
mod replicas;

use std::{num::NonZeroU32, time::Duration};

use tidegate_engine::{Create, Operated};
use tidegate_model::Namespace;
use tidegate_orchestration::{Collision, Rate, Run};
use tidegate_store::{LimitKey, LimitSettings};

use common::{Fixture, task};

fn key(name: &str) -> LimitKey {
    LimitKey { namespace: Namespace::default(), name: name.to_owned() }
}

fn rate(max_starts: u32, seconds: u64) -> Rate {
    let max_starts = NonZeroU32::new(max_starts).expect("is not 0");
    Rate { max_starts, period: Duration::from_secs(seconds), burst: max_starts }
}

/// Slots, and what becomes of who finds none.
fn colliding(max_slots: u32, on_collision: Collision) -> LimitSettings {
    LimitSettings { on_collision, ..max_slots.into() }
}

/// A rate, and any number of slots.
fn rated(rate: Rate) -> LimitSettings {
    LimitSettings { max_slots: None, rate: Some(rate), on_collision: Collision::Wait }
}

/// A task that needs a slot of each of these limits.
fn limited(limits: &[&str]) -> Create {
    let mut create = task();
    create.draft.concurrency_limits = limits.iter().map(|&name| name.to_owned()).collect();
    create
}

async fn created(fixture: &Fixture, limits: &[&str]) -> Run {
    fixture.create(limited(limits)).await.expect("is created").run
}

async fn claimed(fixture: &Fixture, run: &Run) -> Operated {
    fixture.claim(run, "w").await.expect("is answered")
}

async fn n_used(fixture: &Fixture, name: &str) -> u64 {
    let (facts, slots) = fixture.engine.get_limit(key(name), 100).await.expect("is defined");
    assert_eq!(facts.used.n_used, slots.len() as u64);
    facts.used.n_used
}

/// Waits until the run was handed over under its present epoch.
async fn until_handed_over(fixture: &Fixture, run: &Run) {
    let epoch = fixture.get(run).await.epoch;
    fixture
        .until_noted(|notes| {
            notes.enqueued.lock().expect("no test panicked with it").contains(&(run.id, epoch))
        })
        .await;
}

fn is_handed_over(fixture: &Fixture, run: &Run) -> bool {
    fixture
        .notes
        .enqueued
        .lock()
        .expect("no test panicked with it")
        .iter()
        .any(|(id, epoch)| *id == run.id && epoch.0 > 0)
}

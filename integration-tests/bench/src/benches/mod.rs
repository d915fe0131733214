//! The benches. To add one: a module with `run(settings)`, and a line in [`BENCHES`].

mod backlog;
mod cancel;
mod drain;
mod engine;
mod idle;
mod lists;
mod path;
mod schedules;

use anyhow::bail;
use futures::future::LocalBoxFuture;

use crate::settings::Settings;

pub(crate) struct Bench {
    pub name: &'static str,
    /// What is measured, beside what.
    pub about: &'static str,
    pub run: fn(Settings) -> LocalBoxFuture<'static, anyhow::Result<()>>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "engine",
        about: "creates, claims and reports through the engine, beside plain SQL that writes the same in batches",
        run: |settings| Box::pin(engine::run(settings)),
    },
    Bench {
        name: "engine-sqlite",
        about: "the same on SQLite, without a bound",
        run: |settings| Box::pin(engine::run_on_sqlite(settings)),
    },
    Bench {
        name: "cancel",
        about: "the cancel of a tree of which a tenth runs on live workers, through the services and their delivery",
        run: |settings| Box::pin(cancel::run(settings)),
    },
    Bench {
        name: "drain",
        about: "SIGTERM to a worker: how soon what it was given and has not begun begins elsewhere, which is to be within 1 s, and \
                what becomes of the rest",
        run: |settings| Box::pin(drain::run(settings)),
    },
    Bench {
        name: "backlog",
        about: "memory of 1,000,000 queued tasks in Redis, which is to stay under 150 MiB, and a take of 100 beside plain \
                commands that move as much",
        run: |settings| Box::pin(backlog::run(settings)),
    },
    Bench {
        name: "idle",
        about: "one create at a time through the engine, beside one plain commit that writes the same",
        run: |settings| Box::pin(idle::run(settings)),
    },
    Bench {
        name: "lists",
        about: "the lists and counts that command line and console ask, over 1,000,000 runs; p99 is to stay under 50 ms",
        run: |settings| Box::pin(lists::run(settings)),
    },
    Bench {
        name: "path",
        about: "the whole path, from a call until the code begins and until its end is stored, beside the least that it needs",
        run: |settings| Box::pin(path::run(settings)),
    },
    Bench {
        name: "schedules",
        about: "an idle tick with 100,000 schedules, beside one with 10; and 10,000 runs of schedules that are due at once, \
                beside as many that callers create",
        run: |settings| Box::pin(schedules::run(settings)),
    },
];

/// The benches of these names, all where there are none.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Bench>> {
    let known = || BENCHES.iter().map(|bench| bench.name).collect::<Vec<_>>().join(", ");
    for name in names {
        if !BENCHES.iter().any(|bench| bench.name == name) {
            bail!("there is no bench `{name}`; there are: {}", known());
        }
    }
    let is_chosen = |bench: &&Bench| names.is_empty() || names.iter().any(|name| name == bench.name);
    Ok(BENCHES.iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::{BENCHES, chosen};
    use crate::settings::Settings;

    /// Their SQL is not that of the adapters, so nothing else tells that it still fits the schema.
    #[tokio::test]
    async fn every_bench_runs() {
        let postgres = std::env::var("TIDEGATE_TEST_POSTGRES_URL");
        let postgres = postgres.expect("TIDEGATE_TEST_POSTGRES_URL is set: integration-tests/run unit does");
        for bench in BENCHES {
            (bench.run)(Settings::smallest(postgres.clone()))
                .await
                .unwrap_or_else(|error| panic!("bench {}: {error:?}", bench.name));
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = chosen(&["engin".to_owned()]).err().expect("there is none of this name");
        assert!(error.to_string().starts_with("there is no bench `engin`; there are: engine, "), "{error}");
        assert_eq!(chosen(&[]).expect("no name is wrong").len(), BENCHES.len());
    }
}

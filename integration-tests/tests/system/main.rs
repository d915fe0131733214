//! The promises, on real processes: the embedded form (`tidegate dev`: SQLite and the in-process queue) and the
//! separate one (four services on Postgres and Redis, workers as processes of their own).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod artifacts;
mod automations;
mod binaries;
mod bounded;
mod cancel;
mod cli;
mod cli_comfort;
mod cli_doctor;
mod cli_shells;
mod cli_terminal;
mod cli_verbs;
mod crash_safe;
mod delays;
mod demo;
mod deploy_file;
mod deployments;
mod dev;
mod durable;
mod experiments;
mod explained;
mod fenced;
mod idempotent;
mod limits;
mod lines;
mod lost_redis;
mod ordered;
mod overlap;
mod payloads;
mod pools;
mod proto_breaking;
mod queues;
mod rates;
mod raw_worker;
mod reattach;
mod reflection;
mod retries;
mod routing;
mod rust_calls;
mod rust_client;
mod rust_examples;
mod rust_functions;
mod schedule_cli;
mod schedules;
mod traceable;
mod variables;
mod way_of_a_run;
mod whole_tree;
mod worker_stream;
mod workers;

/// Makes two tests of an `async fn(&Suite)`, or of an `async fn(&mut Suite)` that kills parts of it, one for each form.
macro_rules! on_both_forms {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                let mut suite = tidegate_integration_tests::Suite::embedded().await;
                super::$name(&mut suite).await;
                suite.stop().await;
            })+
        }
        mod separate {
            $(#[tokio::test]
            async fn $name() {
                let mut suite = tidegate_integration_tests::Suite::separate().await;
                super::$name(&mut suite).await;
                suite.stop().await;
            })+
        }
    };
}
pub(crate) use on_both_forms;

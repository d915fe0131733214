//! Servers inside of a program.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tidegate_sdk_core::{
    Client, Options,
    proto::{NewRun, RunKind, new_run::Placement},
    runtime,
};
use tidegate_suite::Embedded;

const GRACE: Duration = Duration::from_secs(20);

fn client(server: &Embedded) -> Client {
    Client::new(Options::new(server.address(), "").unwrap()).unwrap()
}

fn run() -> NewRun {
    NewRun {
        kind: RunKind::Task.into(),
        name: "count".into(),
        placement: Some(Placement::Queue("default".into())),
        ..Default::default()
    }
}

#[test]
fn it_keeps_runs_while_it_is_there() {
    let server = Embedded::start().unwrap();
    let client = client(&server);
    let id = runtime::handle().unwrap().block_on(client.create_run(run())).unwrap().id;
    let found = runtime::handle().unwrap().block_on(client.get_run(&id)).unwrap();
    assert_eq!(found.name, "count");
    server.stop(GRACE).unwrap();
}

#[test]
fn several_know_nothing_of_each_other_and_one_may_follow_another() {
    let (first, second) = (Embedded::start().unwrap(), Embedded::start().unwrap());
    assert_ne!(first.address(), second.address());
    let id = runtime::handle().unwrap().block_on(client(&first).create_run(run())).unwrap().id;
    let error = runtime::handle().unwrap().block_on(client(&second).get_run(&id)).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    first.stop(GRACE).unwrap();
    second.stop(GRACE).unwrap();
    let third = Embedded::start().unwrap();
    runtime::handle().unwrap().block_on(client(&third).version()).unwrap();
    third.stop(GRACE).unwrap();
}

//! `tidegate deploy`: a file, and what becomes of the server by it.

use std::{cell::Cell, path::Path, rc::Rc};

use serde_json::{Value, json};
use tidegate_integration_tests::{Ended, Suite};
use tidegate_sdk::proto::{DeploymentSpec, WorkPoolSpec, WorkPoolType};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::cli::tidegate;

const TWO: &str = r#"
[defaults]
queue = "from-file"

[[deployment]]
flow = "add"
name = "one"
entrypoint = "flows.py:add"
tags = ["a"]

[[deployment]]
flow = "add"
name = "two"
entrypoint = "flows.py:add"
parameters = { n = 1 }
parameter_schema = { type = "object", properties = { n = { type = "integer" } } }
enforce_parameter_schema = true
"#;

/// A server, and a directory with a file that can be changed.
struct Bench {
    suite: Suite,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(text: &str) -> Self {
        let bench = Self { suite: Suite::embedded().await, folder: tempfile::tempdir().unwrap() };
        bench.write(text);
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path().join("tidegate.toml"), text).unwrap();
    }

    async fn deploy(&self, args: &[&str]) -> Ended {
        let folder = self.path().to_str().unwrap();
        tidegate(self.suite.address(), &[&["deploy", folder], args].concat()).await
    }

    /// What becomes of each deployment, by a call that must succeed.
    async fn changes(&self, args: &[&str]) -> Value {
        let ended = self.deploy(&[args, &["-o", "json"]].concat()).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        let told: Value = serde_json::from_str(&ended.stdout).unwrap();
        let change = |deployment: &Value| (deployment["name"].to_string(), deployment["change"].clone());
        Value::Object(
            told["deployments"]
                .as_array()
                .unwrap()
                .iter()
                .map(change)
                .map(|(name, change)| (name.trim_matches('"').to_owned(), change))
                .collect(),
        )
    }

    async fn version(&self, name: &str) -> Option<u64> {
        let found = self.suite.client().core().get_deployment(name).await;
        found.ok().map(|deployment| deployment.version)
    }
}

#[tokio::test]
async fn a_file_is_deployed_and_the_second_time_nothing_changes() {
    let bench = Bench::new(TWO).await;
    assert_eq!(bench.changes(&["--dry-run"]).await, json!({"add/one": "new", "add/two": "new"}));
    assert_eq!(bench.version("add/one").await, None, "a dry run makes nothing");
    assert_eq!(bench.deploy(&["--dry-run", "--exit-code"]).await.code, Some(5));

    assert_eq!(bench.changes(&[]).await, json!({"add/one": "new", "add/two": "new"}));
    let deployed = bench.suite.client().core().get_deployment("add/two").await.unwrap().spec.unwrap();
    assert_eq!((deployed.queue.as_str(), deployed.parameters.as_str()), ("from-file", r#"{"n":1}"#));

    assert_eq!(bench.changes(&[]).await, json!({"add/one": "unchanged", "add/two": "unchanged"}));
    assert_eq!((bench.version("add/one").await, bench.version("add/two").await), (Some(1), Some(1)));
    let same = bench.deploy(&["--dry-run", "--exit-code"]).await;
    assert_eq!(same.code, Some(0), "{}{}", same.stdout, same.stderr);

    bench.write(&TWO.replace("tags = [\"a\"]", "tags = [\"b\"]"));
    let shown = bench.deploy(&["--dry-run"]).await;
    assert!(shown.stdout.contains("~ tags  [\"a\"] -> [\"b\"]"), "{}", shown.stdout);
    assert_eq!(bench.version("add/one").await, Some(1));
    assert_eq!(bench.changes(&[]).await, json!({"add/one": "changed", "add/two": "unchanged"}));
    assert_eq!((bench.version("add/one").await, bench.version("add/two").await), (Some(2), Some(1)));
    bench.suite.stop().await;
}

#[tokio::test]
async fn only_the_named_deployments_are_deployed() {
    let bench = Bench::new(TWO).await;
    assert_eq!(bench.changes(&["add/two"]).await, json!({"add/two": "new"}));
    assert_eq!((bench.version("add/one").await, bench.version("add/two").await), (None, Some(1)));
    let unknown = bench.deploy(&["add/tow"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("did you mean `add/two`?"), "{}", unknown.stderr);
    bench.suite.stop().await;
}

#[tokio::test]
async fn one_fault_in_the_file_and_nothing_is_changed() {
    let bench = Bench::new(&format!("{TWO}quue = \"x\"\npriority = 1000\n")).await;
    let refused = bench.deploy(&[]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    for part in
        [":18:1: `quue` is no key of a deployment: did you mean `queue`?", ":19:12: `priority` is 1000"]
    {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(bench.version("add/one").await, None, "nothing of a wrong file is deployed");
    bench.suite.stop().await;
}

#[tokio::test]
async fn what_the_server_alone_knows_to_be_wrong_is_told_before_anything_is_changed() {
    let schedule = "[[deployment.schedule]]\ncron = \"0 3 1 1 *\"\njob_variables = { cpu = 1 }\n";
    let bench = Bench::new(&format!("{TWO}\n{schedule}")).await;
    for args in [&[][..], &["--dry-run"]] {
        let refused = bench.deploy(args).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        for part in ["`add/two`, and nothing was changed", "the schedule `default`", "spec.job_variables"] {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
        }
    }
    assert_eq!((bench.version("add/one").await, bench.version("add/two").await), (None, None));
    bench.suite.stop().await;
}

#[tokio::test]
async fn whoever_deploys_for_a_pool_that_nobody_serves_is_told_so() {
    let text = "[[deployment]]\nflow = \"add\"\nname = \"one\"\nwork_pool = \"site\"\ncommand = [\"true\"]\n";
    let bench = Bench::new(text).await;
    let pool = WorkPoolSpec { r#type: WorkPoolType::Process.into(), ..WorkPoolSpec::default() };
    bench.suite.client().core().create_work_pool("site", pool, false).await.unwrap();
    let told =
        "add/one: work pool `site` has no live worker: start one with `tidegate worker start --pool site`";
    let deployed = bench.deploy(&[]).await;
    assert_eq!((deployed.code, deployed.stderr), (Some(0), format!("tidegate: {told}\n")));
    assert!(deployed.stdout.contains("1 of 1 deployed"), "{}", deployed.stdout);
    bench.write(&text.replace("true", "false"));
    let deployed = bench.deploy(&["-o", "json"]).await;
    let answer: Value = serde_json::from_str(&deployed.stdout).unwrap();
    assert_eq!((deployed.stderr.as_str(), &answer["warnings"]), ("", &json!([told])));
    bench.suite.stop().await;
}

/// A way to a server on which the n-th request with a mark in it waits until `meanwhile` is done.
async fn held_up(
    at: &str,
    (mark, nth): (&'static str, u32),
    meanwhile: impl AsyncFnOnce() + 'static,
) -> String {
    let server = at.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        let (meanwhile, n_marked) = (Rc::new(Cell::new(Some(meanwhile))), Rc::new(Cell::new(0)));
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(&server).await.unwrap().into_split();
            tokio::task::spawn_local(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let (meanwhile, n_marked) = (Rc::clone(&meanwhile), Rc::clone(&n_marked));
            tokio::task::spawn_local(async move {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(n_read @ 1..) = from_client.read(&mut chunk).await {
                    let is_marked = chunk[..n_read].windows(mark.len()).any(|part| part == mark.as_bytes());
                    n_marked.set(n_marked.get() + u32::from(is_marked));
                    let is_it = is_marked && n_marked.get() == nth;
                    if let Some(meanwhile) = is_it.then(|| meanwhile.take()).flatten() {
                        meanwhile().await;
                    }
                    if to_server.write_all(&chunk[..n_read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn what_somebody_else_changes_meanwhile_is_not_overwritten() {
    let bench = Bench::new(TWO).await;
    assert_eq!(bench.changes(&[]).await, json!({"add/one": "new", "add/two": "new"}));
    bench.write(&TWO.replace("tags = [\"a\"]", "tags = [\"of-the-file\"]"));
    let (folder, client) = (bench.path().to_str().unwrap().to_owned(), bench.suite.client());
    let here = tokio::task::LocalSet::new();
    let refused = here
        .run_until(async {
            let other = async move || {
                let spec = DeploymentSpec { tags: vec!["of-another".into()], ..Default::default() };
                client.core().update_deployment("add/one", spec, &["tags"], "").await.unwrap();
            };
            let way = held_up(bench.suite.address(), ("of-the-file", 1), other).await;
            tidegate(&way, &["deploy", &folder]).await
        })
        .await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
    for part in ["deployment `add/one`", "somebody else has changed it", "run `tidegate deploy` again"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let there = bench.suite.client().core().get_deployment("add/one").await.unwrap();
    assert_eq!((there.version, there.spec.unwrap().tags), (2, vec!["of-another".to_owned()]));
    assert_eq!(bench.changes(&[]).await, json!({"add/one": "changed", "add/two": "unchanged"}));
    bench.suite.stop().await;
}

#[tokio::test]
async fn a_schedule_that_somebody_else_changes_meanwhile_is_not_overwritten_either() {
    let with = |cron: &str| format!("{TWO}\n[[deployment.schedule]]\nname = \"night\"\ncron = \"{cron}\"\n");
    let bench = Bench::new(&with("0 1 1 1 *")).await;
    bench.changes(&[]).await;
    bench.write(&with("7 7 7 7 *").replace("tags = [\"a\"]", "tags = [\"b\"]"));
    let folder = bench.path().to_str().unwrap().to_owned();
    let core = || bench.suite.client().core().clone();
    let here = tokio::task::LocalSet::new();
    // Each way of changing it: while the file is checked, and while the schedule itself is being written.
    for (nth, told) in [(1, "nothing of this deployment was changed"), (2, "what comes before it was done")] {
        let other = core();
        let meanwhile = async move || {
            other.pause_schedule("add/two", "night", "the source moves").await.unwrap();
            other.resume_schedule("add/two", "night").await.unwrap();
        };
        let refused = here
            .run_until(async {
                let way = held_up(bench.suite.address(), ("7 7 7 7 *", nth), meanwhile).await;
                tidegate(&way, &["deploy", &folder]).await
            })
            .await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
        for part in
            ["`add/two`", "its schedule `night` since it was compared", told, "run `tidegate deploy` again"]
        {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
        }
        let there = core().get_schedule("add/two", "night").await.unwrap();
        let spec = format!("{:?}", there.spec.unwrap().timetable);
        assert!(spec.contains("0 1 1 1 *"), "{spec}");
    }
    // One that is to go, too; and what was made meanwhile stays.
    bench.write(TWO);
    let other = core();
    let meanwhile = async move || {
        other.pause_schedule("add/two", "night", "the source moves").await.unwrap();
    };
    let refused = here
        .run_until(async {
            let way = held_up(bench.suite.address(), ("not among the schedules", 1), meanwhile).await;
            tidegate(&way, &["deploy", &folder, "--prune-schedules"]).await
        })
        .await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("its schedule `night`"), "{}", refused.stderr);
    core().get_schedule("add/two", "night").await.unwrap();
    assert_eq!(bench.deploy(&["--prune-schedules"]).await.code, Some(0));
    assert!(core().get_schedule("add/two", "night").await.unwrap_err().is_not_found());
    bench.suite.stop().await;
}

#[tokio::test]
async fn a_template_is_printed_that_can_be_read() {
    let template = tidegate("http://127.0.0.1:1", &["deploy", "--template"]).await;
    assert_eq!((template.code, template.stderr.as_str()), (Some(0), ""));
    let folder = tempfile::tempdir().unwrap();
    let deploy = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        async move { tidegate("http://127.0.0.1:1", &["deploy", &path]).await }
    };
    let missing = deploy(folder.path()).await;
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("tidegate deploy --template > tidegate.toml"), "{}", missing.stderr);
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, template.stdout).unwrap();
    let read = deploy(&path).await;
    assert_eq!(read.code, Some(69), "the file is right, and no server answers: {}", read.stderr);
}

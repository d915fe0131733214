//! A worker of a pool of Kubernetes, against a simulated cluster (`cluster.rs`) and a service that does what the test
//! tells it. The worker and its client are the real ones; the cluster is not.

#![cfg(feature = "containers")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod cluster;
#[path = "../../../../libs/sdk-core/tests/fake/mod.rs"]
mod fake;
#[path = "../lab/mod.rs"]
mod lab;

use std::{fs, time::Duration};

use cluster::Cluster;
use fake::{Event, ended};
use lab::{Lab, command};
use serde_json::{Value, json};
use tidegate_sdk_core::proto::{GitSource, Job, Run, Source, WorkPoolType, source};

async fn lab(more: &[&str]) -> (Cluster, Lab) {
    let (cluster, dir) = (Cluster::start().await, tempfile::tempdir().unwrap());
    let file = dir.path().join("kubeconfig");
    fs::write(&file, cluster.kubeconfig()).unwrap();
    let fixed = ["--kubeconfig", file.to_str().unwrap()];
    let options: Vec<_> = fixed.iter().chain(more).map(ToString::to_string).collect();
    (cluster, Lab::new(dir, "host", WorkPoolType::Kubernetes, &options).await)
}

fn job() -> Job {
    command(&json!({"image": "etl:1"}))
}

fn job_with(name: &str, value: Value) -> Job {
    command(&json!({"image": "etl:1", name: value}))
}

/// Has the worker begin a job. Gives the run and its pod.
async fn begun(cluster: &Cluster, lab: &mut Lab) -> (String, String) {
    let run_id = lab.assign(job()).await;
    let pod = cluster.pod(&run_id).await;
    cluster.run(&pod);
    lab.started().await;
    (run_id, pod)
}

#[tokio::test]
async fn a_command_is_a_job_whose_pod_tells_its_end() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    let run_id = lab.assign(job_with("labels", json!({"team": "data"}))).await;
    let pod = cluster.pod(&run_id).await;
    let spec = cluster.pod_spec(&pod);
    assert_eq!(spec["containers"][0]["command"], json!(["load"]));
    assert_eq!(spec["terminationGracePeriodSeconds"], 45, "that of the run");
    cluster.run(&pod);
    lab.started().await;
    cluster.write(&pod, "begun");
    assert_eq!(lab.line().await, "begun");
    cluster.write(&pod, "done");
    cluster.exit(&pod, 0, "Completed");
    assert_eq!(lab.line().await, "done");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    // It stays for its time, for those who look for it.
    let kept = cluster.until_done().await;
    assert_eq!(
        (&kept["metadata"]["labels"]["team"], &kept["spec"]["ttlSecondsAfterFinished"]),
        (&json!("data"), &json!(300))
    );

    let run_id = lab.assign(job()).await;
    let pod = cluster.pod(&run_id).await;
    cluster.run(&pod);
    cluster.write(&pod, "no such table: orders");
    cluster.exit(&pod, 3, "Error");
    assert_eq!(lab.failure().await, "exit code 3: no such table: orders");
}

#[tokio::test]
async fn an_entrypoint_speaks_for_itself() {
    let (cluster, mut lab) = lab(&["--job-image", "flows:7"]).await;
    lab.start().await;
    let job = Job { entrypoint: "etl:nightly".into(), ..Default::default() };
    let run_id = lab.assign(job.clone()).await;
    let pod = cluster.pod(&run_id).await;
    let container = cluster.pod_spec(&pod)["containers"][0].clone();
    assert_eq!(container["image"], "flows:7");
    assert_eq!(container["command"], json!(["python3", "-m", "tidegate.execute", "etl:nightly"]));
    cluster.run(&pod);
    cluster.exit(&pod, 0, "Completed");
    let mut run = ended(&run_id);
    run.epoch = 3;
    lab.fake.tell_run(run).await;
    let run_id = lab.assign(job).await;
    let pod = cluster.pod(&run_id).await;
    cluster.run(&pod);
    cluster.exit(&pod, 1, "Error");
    let report = lab.report().await;
    assert_eq!(report.run_id, run_id, "nothing is reported of the one before");
    let Some(Event::Crashed(crashed)) = report.event else { panic!("it has crashed") };
    assert_eq!(crashed.cause, "exit code 1");
}

#[tokio::test]
async fn what_hinders_a_pod_is_told_at_once() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    for (reason, message) in [
        ("ErrImagePull", "pull access denied for etl:1"),
        ("ImagePullBackOff", "Back-off pulling image \"etl:1\""),
        ("CreateContainerConfigError", "secret \"tidegate-jobs\" not found"),
    ] {
        let run_id = lab.assign(job()).await;
        cluster.waits(&cluster.pod(&run_id).await, reason, message);
        assert_eq!(lab.crash().await, format!("{reason}: {message}"));
        cluster.until_no_job().await; // it would be tried for ever
    }
}

#[tokio::test]
async fn what_ends_a_pod_is_told() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    let run = async |lab: &mut Lab, variables: Value| {
        let run_id = lab.assign(command(&variables)).await;
        let pod = cluster.pod(&run_id).await;
        cluster.run(&pod);
        lab.started().await;
        pod
    };
    let pod = run(&mut lab, json!({"image": "etl:1"})).await;
    cluster.tell(
        &pod,
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}),
    );
    assert_eq!(lab.crash().await, "Evicted: The node was low on memory.");

    let pod = run(&mut lab, json!({"image": "etl:1", "memory_limit": "512Mi"})).await;
    cluster.exit(&pod, 137, "OOMKilled");
    let cause = lab.crash().await;
    assert!(cause.starts_with("OOMKilled: it was out of memory at its limit of 512Mi"), "{cause}");

    let pod = run(&mut lab, json!({"image": "etl:1"})).await;
    cluster.exit(&pod, 139, "Error");
    assert_eq!(lab.crash().await, "signal 11 (SIGSEGV)");

    let pod = run(&mut lab, json!({"image": "etl:1"})).await;
    cluster.delete(&pod);
    let cause = lab.crash().await;
    assert!(cause.starts_with("its pod was deleted"), "{cause}");
}

#[tokio::test]
async fn a_pod_without_a_node_says_so_from_the_start_and_is_given_up_in_time() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    let run_id = lab.assign(job_with("pod_start_timeout_seconds", json!(5))).await;
    let pod = cluster.pod(&run_id).await;
    let message = "0/3 nodes are available: 3 Insufficient cpu.";
    let condition =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
    cluster.tell(&pod, json!({"phase": "Pending", "conditions": [condition]}));
    assert_eq!(lab.note().await, format!("the job has not begun: Unschedulable: {message}"));
    let cause = lab.crash().await;
    assert_eq!(cause, format!("Unschedulable: {message} (after 5 s, `pod_start_timeout_seconds`)"));
    cluster.until_no_job().await;
}

#[tokio::test]
async fn what_a_job_waits_for_is_told_until_it_begins() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    let run_id = lab.assign(job()).await;
    let pod = cluster.pod(&run_id).await;
    lab.until_hindered("its pod is being placed").await;
    let message = "0/3 nodes are available: 3 Insufficient cpu.";
    let condition =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
    cluster.tell(&pod, json!({"phase": "Pending", "conditions": [condition]}));
    lab.until_hindered(&format!("Unschedulable: {message}")).await;
    cluster.waits(&pod, "ContainerCreating", "");
    lab.until_hindered("ContainerCreating").await;
    cluster.run(&pod);
    lab.started().await;
    lab.until_hindered("").await;
}

#[tokio::test]
async fn code_of_a_repository_is_fetched_in_the_pod() {
    let (cluster, mut lab) = lab(&["--source-image", "tidegate:1"]).await;
    lab.start().await;
    let git =
        source::Source::Git(GitSource { url: "https://git.example.com/etl".into(), ..Default::default() });
    let from_git = Job { source: Some(Source { source: Some(git) }), ..job() };
    let source = |state: Value| {
        let name = "tidegate-source";
        json!([{"name": name, "image": "tidegate:1", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    };
    let run_id = lab.assign(from_git.clone()).await;
    let pod = cluster.pod(&run_id).await;
    let spec = cluster.pod_spec(&pod);
    assert_eq!(spec["initContainers"][0]["image"], "tidegate:1");
    assert_eq!(spec["containers"][0]["workingDir"], "/tidegate/code");
    cluster.tell(&pod, json!({"phase": "Pending", "initContainerStatuses": source(json!({"running": {}}))}));
    lab.until_hindered("its code is fetched").await;
    cluster.run(&pod);
    lab.started().await;
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(lab.ended().await, Event::Completed(_)));

    for (code, message) in [(65, "there is no branch `mian`"), (1, "the server says 503")] {
        let run_id = lab.assign(from_git.clone()).await;
        let pod = cluster.pod(&run_id).await;
        let ended = json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}});
        cluster.tell(&pod, json!({"phase": "Failed", "initContainerStatuses": source(ended)}));
        let told = if code == 65 { lab.failure().await } else { lab.crash().await };
        assert_eq!(told, message);
    }
}

#[tokio::test]
async fn an_adopted_job_whose_run_is_cancelled_is_ended_also_before_it_is_gone_on_with() {
    let (cluster, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    lab.end().await;
    cluster.hold_gets();
    lab.start().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
    cluster.until_called("GET jobs/one", 1).await;
    lab.cancel(&run_id, Duration::from_secs(20)).await;
    assert!(matches!(lab.ended().await, Event::Cancelled(_)));
    cluster.until_gone(&pod).await;
    assert!(cluster.jobs().is_empty());
}

#[tokio::test]
async fn a_cancel_deletes_job_and_pod_within_the_grace() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    // Its pod runs, and ends when it is asked to.
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    lab.cancel(&run_id, Duration::from_secs(20)).await;
    assert!(matches!(lab.report().await.event, Some(Event::Cancelled(_))));
    cluster.until_gone(&pod).await;
    // Its pod does not listen.
    cluster.set_stubborn();
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    lab.cancel(&run_id, Duration::from_secs(1)).await;
    assert!(matches!(lab.report().await.event, Some(Event::Cancelled(_))));
    cluster.until_gone(&pod).await;
    // Its pod has not begun.
    let run_id = lab.assign(job()).await;
    let pod = cluster.pod(&run_id).await;
    lab.cancel(&run_id, Duration::from_secs(20)).await;
    assert!(matches!(lab.report().await.event, Some(Event::Cancelled(_))));
    cluster.until_gone(&pod).await;
    assert!(cluster.jobs().is_empty());
}

#[tokio::test]
async fn jobs_go_on_while_their_worker_is_started_anew() {
    let (cluster, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    for line in ["one", "two"] {
        cluster.write(&pod, line);
        assert_eq!(lab.line().await, line);
    }
    lab.end().await;
    assert_eq!(cluster.jobs().len(), 1, "it was not ended");
    cluster.write(&pod, "three");
    lab.start().await;
    let held = lab.heartbeat().await;
    assert_eq!((held.len(), held[0].run_id.as_str(), held[0].epoch), (1, run_id.as_str(), 3));
    assert_eq!(lab.line().await, "three", "what was taken before is not taken again");
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    cluster.until_done().await;
    lab.end().await;
    lab.start().await;
    assert_eq!(lab.heartbeat().await, [], "what has ended is not taken on again");
    assert_eq!(cluster.n_calls("POST jobs"), 1);
}

#[tokio::test]
async fn jobs_of_another_server_are_left_alone() {
    let (cluster, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (run_id, _) = begun(&cluster, &mut lab).await;
    lab.end().await;
    // A worker of the same name, directory, namespace and pool.
    lab.fake.server_id.send_replace("another".into());
    lab.start().await;
    assert_eq!(lab.heartbeat().await, []);
    lab.end().await;
    assert_eq!((cluster.jobs().len(), cluster.n_calls("DELETE jobs")), (1, 0));
    lab.fake.server_id.send_replace("one".into());
    lab.start().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
}

#[tokio::test]
async fn jobs_of_an_older_worker_are_taken_on_where_their_run_is_of_this_pool() {
    let (cluster, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (ours, pod) = begun(&cluster, &mut lab).await;
    let (of_another_server, _) = begun(&cluster, &mut lab).await;
    let (of_another_pool, _) = begun(&cluster, &mut lab).await;
    lab.end().await;
    // Workers of before did not write which server's their jobs are.
    cluster.unlabel("tidegate.dev/server");
    let run = |id: &str, pool: &str| Run { id: id.into(), work_pool: pool.into(), ..Default::default() };
    lab.start_asking(3, &[run(&ours, "lab"), run(&of_another_pool, "other")]).await;
    let held = lab.heartbeat().await;
    assert_eq!(held.iter().map(|run| &run.run_id).collect::<Vec<_>>(), [&ours]);
    assert_eq!((cluster.jobs().len(), cluster.n_calls("DELETE jobs")), (3, 0), "others are left alone");
    let server_of = |run_id: &str| {
        let jobs = cluster.jobs();
        let labels = |job: &Value| job["metadata"]["labels"].clone();
        let found = jobs.iter().map(labels).find(|labels| labels["tidegate.dev/run-id"] == run_id);
        found.unwrap()["tidegate.dev/server"].clone()
    };
    assert!(server_of(&ours).is_string() && server_of(&of_another_server).is_null());
    // It is followed as if it were of this worker, and asked about no more.
    lab.end().await;
    lab.start_asking(2, &[]).await;
    assert_eq!(lab.heartbeat().await[0].run_id, ours);
    cluster.write(&pod, "late");
    assert_eq!(lab.line().await, "late");
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
}

#[tokio::test]
async fn jobs_go_on_when_their_worker_is_refused() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    let why = lab.refuse(tonic::Status::permission_denied("403 Forbidden")).await;
    assert!(why.contains("403 Forbidden"), "{why}");
    assert_eq!(cluster.n_calls("DELETE jobs"), 0);
    lab.start().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    assert_eq!(cluster.n_calls("POST jobs"), 1);
}

#[tokio::test]
async fn jobs_go_on_when_their_worker_is_killed() {
    let (cluster, mut lab) = lab(&[]).await;
    let mut worker = lab.start_program().await;
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    worker.kill();
    cluster.exit(&pod, 3, "Error");
    let _next = lab.start_program().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
    assert_eq!(lab.failure().await, "exit code 3");
    assert_eq!(cluster.n_calls("POST jobs"), 1);
}

#[tokio::test]
async fn an_end_that_the_server_may_not_have_heard_is_told_by_the_next_worker() {
    let (cluster, mut lab) = lab(&[]).await;
    let mut worker = lab.start_program().await;
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(lab.unanswered().await[0].event, Some(Event::Completed(_))));
    worker.kill();
    let _next = lab.start_program().await;
    assert_eq!(lab.heartbeat().await[0].run_id, run_id);
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    cluster.until_done().await;
}

#[tokio::test]
async fn a_later_attempt_ends_what_an_earlier_one_has_left() {
    let (cluster, mut lab) = lab(&["--drain-seconds", "0"]).await;
    lab.start().await;
    let (run_id, pod) = begun(&cluster, &mut lab).await;
    lab.end().await;
    // Nobody went on with it in time, so the run is another's, under another epoch.
    let file = lab.dir.path().join("kubeconfig").display().to_string();
    let options = ["--kubeconfig", &file].map(str::to_owned);
    let other_dir = tempfile::tempdir().unwrap();
    let mut other = Lab::new(other_dir, "other", WorkPoolType::Kubernetes, &options).await;
    other.start().await;
    other.assign_again(&run_id, 4, job()).await;
    cluster.until_gone(&pod).await;
    let pod = cluster.pod(&run_id).await;
    cluster.run(&pod);
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(other.ended().await, Event::Completed(_)));
}

#[tokio::test]
async fn a_watch_that_breaks_loses_nothing() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    let (_, pod) = begun(&cluster, &mut lab).await;
    cluster.write(&pod, "one");
    assert_eq!(lab.line().await, "one");
    cluster.break_streams(); // of lines and events: they go on where they were
    cluster.write(&pod, "two");
    assert_eq!(lab.line().await, "two");
    cluster.expire(); // a list says what became of it
    cluster.write(&pod, "three");
    cluster.exit(&pod, 0, "Completed");
    assert_eq!(lab.line().await, "three");
    assert!(matches!(lab.ended().await, Event::Completed(_)));

    // Nobody says that the lines come no more.
    let (_, pod) = begun(&cluster, &mut lab).await;
    cluster.write(&pod, "before");
    assert_eq!(lab.line().await, "before");
    cluster.stall_lines();
    cluster.write(&pod, "in the silence");
    cluster.exit(&pod, 0, "Completed");
    assert_eq!(lab.line().await, "in the silence");
    assert!(matches!(lab.ended().await, Event::Completed(_)));

    // What is not in the list has gone.
    let (_, pod) = begun(&cluster, &mut lab).await;
    cluster.set_away(true);
    cluster.delete(&pod);
    cluster.expire();
    cluster.set_away(false);
    assert_eq!(lab.crash().await, "its pod was deleted before it had ended");
}

#[tokio::test]
async fn a_cluster_that_is_away_for_a_while_costs_time_alone() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    cluster.set_away(true);
    let run_id = lab.assign(job()).await;
    assert_eq!(lab.note().await, "the job waits for the cluster: the API server is starting");
    cluster.until_called("GET jobs", 3).await; // one was before
    cluster.set_away(false);
    let pod = cluster.pod(&run_id).await;
    cluster.run(&pod);
    lab.started().await;
    cluster.set_away(true);
    cluster.write(&pod, "while it was away");
    cluster.exit(&pod, 0, "Completed");
    cluster.set_away(false);
    assert_eq!(lab.line().await, "while it was away");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_makes_one_job() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    cluster.answer_next(true, 500, "etcdserver: request timed out");
    let run_id = lab.assign(job()).await;
    let pod = cluster.pod(&run_id).await;
    cluster.run(&pod);
    cluster.exit(&pod, 0, "Completed");
    assert!(matches!(lab.ended().await, Event::Completed(_)));
    assert_eq!((cluster.n_calls("POST jobs"), cluster.jobs().len()), (2, 1));
}

#[tokio::test]
async fn what_the_cluster_refuses_is_told_as_it_says_it() {
    let (cluster, mut lab) = lab(&[]).await;
    lab.start().await;
    cluster.answer_next(false, 422, "spec.template.spec.containers[0].image: Invalid value");
    lab.assign(job()).await;
    assert_eq!(lab.failure().await, "spec.template.spec.containers[0].image: Invalid value");
    cluster.answer_next(false, 403, "exceeded quota: compute, requested: limits.cpu=2");
    lab.assign(job()).await;
    assert_eq!(lab.crash().await, "exceeded quota: compute, requested: limits.cpu=2");
    cluster.answer_next(
        false,
        403,
        "jobs.batch is forbidden: User \"worker\" cannot create resource \"jobs\"",
    );
    lab.assign(job()).await;
    let cause = lab.crash().await;
    assert!(
        cause.contains("cannot create") && cause.contains("in the namespace flows that the chart"),
        "{cause}"
    );
    lab.assign(command(&json!({}))).await;
    assert!(lab.failure().await.contains("--job-image"));
    assert!(cluster.jobs().is_empty());
}

#[tokio::test]
async fn a_worker_without_a_cluster_says_how_it_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("none").display().to_string();
    let options = ["--type", "kubernetes", "--kubeconfig", &file].map(str::to_owned);
    let error = Lab::new(dir, "host", WorkPoolType::Kubernetes, &options).await.refused().await;
    assert!(error.contains(&file), "{error}");
}

#[tokio::test]
async fn a_worker_of_another_type_than_its_pool_does_not_begin() {
    let options = ["--type", "process"].map(str::to_owned);
    let lab = Lab::new(tempfile::tempdir().unwrap(), "host", WorkPoolType::Kubernetes, &options).await;
    assert_eq!(
        lab.refused().await,
        "pool `lab` is of the type `kubernetes`, and this worker was started with `--type process`: leave that out, or name a \
         pool of its type"
    );
}

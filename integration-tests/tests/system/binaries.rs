//! Each service is a binary of its own, and also `tidegate server NAME`.

use std::time::Duration;

use tidegate_integration_tests::{Process, Suite, free_port, program, within};

const SERVICES: [&str; 4] = ["api", "scheduler", "task-queue", "log-ingest"];

#[tokio::test]
async fn tidegate_server_starts_the_same_services() {
    let suite = Suite::separate_by_command().await;
    let _worker = suite.worker("by-command");
    let handle = suite.client().task("add").queue("by-command").delay(&(1, 2)).await.unwrap();
    assert_eq!(within("the result", Duration::from_secs(30), handle.result::<i64>()).await.unwrap(), 3);
    suite.stop().await;
}

#[tokio::test]
async fn each_service_prints_and_checks_its_configuration() {
    for service in SERVICES {
        let own = program(&format!("tidegate-{service}"));
        let printed = Process::start(&own, ["--print-config"], []).ended(Duration::from_secs(10)).await;
        assert_eq!(printed.code, Some(0), "{service}: {}", printed.stderr);
        let by_command = Process::start(&program("tidegate"), ["server", service, "--print-config"], []);
        assert_eq!(by_command.ended(Duration::from_secs(10)).await.stdout, printed.stdout, "{service}");
        let wrong = [("TIDEGATE__NO_SUCH_KEY".to_owned(), "1".to_owned())];
        let refused = Process::start(&own, ["--check-config"], wrong).ended(Duration::from_secs(10)).await;
        assert_eq!(refused.code, Some(64), "{service}");
        assert!(refused.stderr.contains("no_such_key"), "{service}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn each_service_says_whether_it_serves() {
    let suite = Suite::separate().await;
    for service in SERVICES {
        let check = async |address: &str| {
            // An address that is all of them stands for this machine.
            let port = address.rsplit_once(':').unwrap().1;
            let listen = [("TIDEGATE__LISTEN".to_owned(), format!("0.0.0.0:{port}"))];
            let own = program(&format!("tidegate-{service}"));
            Process::start(&own, ["--check-health"], listen).ended(Duration::from_secs(20)).await
        };
        let well = check(&suite.address_of(service)).await;
        assert_eq!(well.code, Some(0), "{service}: {}", well.stderr);
        let nobody = format!("127.0.0.1:{}", free_port());
        let unwell = check(&nobody).await;
        assert_eq!(unwell.code, Some(1), "{service}");
        assert!(unwell.stderr.contains(&nobody), "{service}: {}", unwell.stderr);
    }
    suite.stop().await;
}

#[tokio::test]
async fn a_pod_has_the_code_of_its_run_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (repository, code) = (dir.path().join("repository"), dir.path().join("pod").join("code"));
    std::fs::create_dir_all(repository.join("flows")).unwrap();
    std::fs::write(repository.join("flows/etl.py"), "nightly").unwrap();
    let steps = [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "first"]];
    for step in steps {
        let author = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let git = std::process::Command::new("git").args(author).args(step).current_dir(&repository).status();
        assert!(git.unwrap().success());
    }
    let fetch = async |more: &str| {
        let (to, git) =
            (format!("--to={}", code.display()), format!("--git=file://{}", repository.display()));
        let args = ["worker", "fetch-source", &to, &git, more];
        Process::start(&program("tidegate"), args, []).ended(Duration::from_secs(60)).await
    };
    let ended = fetch("--directory=flows").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(code.join("flows/etl.py")).unwrap(), "nightly");
    let left: Vec<_> = std::fs::read_dir(code.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    for wrong in ["--ref=mian", "--directory=flow"] {
        let ended = fetch(wrong).await;
        assert_eq!(ended.code, Some(65), "{}", ended.stderr);
        let value = wrong.split_once('=').unwrap().1;
        assert!(
            ended.stderr.contains(&format!("`{value}`")) && ended.stderr.lines().count() == 1,
            "{}",
            ended.stderr
        );
    }
}

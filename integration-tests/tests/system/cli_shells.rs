//! Completion in real shells, and man pages as a formatter of them reads them.

use std::{path::Path, time::Duration};

use tidegate_integration_tests::{Ended, Process, Suite, eventually, program};

use crate::cli::tidegate;

const DEADLINE: Duration = Duration::from_secs(30);

const FILE: &str = r#"
[[deployment]]
flow = "etl"
name = "nightly"
entrypoint = "flows.py:etl"

[[deployment.schedule]]
name = "evening"
cron = "0 20 1 1 *"

[[deployment.schedule]]
name = "morning"
cron = "0 3 1 1 *"
"#;

/// What a shell says that has `tidegate` in its path, and the server's address in its environment.
async fn shell(command: &[&str], address: &str) -> Ended {
    let folder = program("tidegate").parent().unwrap().to_string_lossy().into_owned();
    let env = [
        ("PATH".to_owned(), format!("{folder}:{}", std::env::var("PATH").unwrap())),
        ("TIDEGATE_ADDRESS".to_owned(), address.to_owned()),
    ];
    Process::start(Path::new(command[0]), &command[1..], env).ended(DEADLINE).await
}

#[tokio::test]
async fn shells_complete_names_of_things() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    for name in ["gpu", "gpu-night", "other"] {
        assert_eq!(tidegate(at, &["queue", "set", name, "--slots", "2"]).await.code, Some(0));
    }
    let bash = "source <(tidegate completion bash) && COMP_WORDS=(tidegate queue get gpu-) COMP_CWORD=3 \
                COMP_TYPE=9 && _clap_complete_tidegate tidegate gpu- get && echo \"${COMPREPLY[*]}\"";
    // zsh completes where somebody types; what its completion system is told is shown instead.
    let zsh = "compdef() { } ; _describe() { print -rl -- \"${(@P)3}\" } ; source <(tidegate completion zsh) ; \
               words=(tidegate queue get gpu-) CURRENT=4 ; _clap_dynamic_completer_tidegate";
    let fish = "tidegate completion fish | source; complete -C 'tidegate queue get gpu-'";
    for command in [["bash", "-c", bash], ["zsh", "-fc", zsh], ["fish", "-Nc", fish]] {
        // A server that does not answer at once has nothing offered.
        eventually(&format!("{} completes the name", command[0]), DEADLINE, async || {
            let ended = shell(&command, at).await;
            assert_eq!(ended.code, Some(0), "{}: {}", command[0], ended.stderr);
            (ended.stdout.trim() == "gpu-night").then_some(())
        })
        .await;
    }
    suite.stop().await;
}

#[tokio::test]
async fn whatever_names_a_thing_is_completed() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    std::fs::write(&file, FILE).unwrap();
    std::fs::write(folder.path().join("config.toml"), "[profiles.prod]\n[profiles.prototype]\n").unwrap();
    let file = file.to_str().unwrap();
    let run = suite.client().flow("survey").queue("nobody").delay(&()).await.unwrap();
    for args in [
        &["deploy", file][..],
        &["pool", "create", "site"],
        &["variable", "set", "api_url", "x", "--tag", "web"],
        &["automation", "set", "page-me", "--state", "CRASHED", "--webhook", "https://a.example"],
        &["concurrency", "set", "database", "2"],
        &["run", "cancel", "--tree", run.id(), "--yes"],
    ] {
        let done = tidegate(at, args).await;
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
    }
    let id = run.id();
    let cancel = format!("run cancel --tree {}", &id[..30]);
    let artifacts = format!("artifact ls --run {}", &id[..30]);
    let deploy = format!("deploy {file} etl/");
    let lines: [(&str, &str); 19] = [
        ("deployment get etl/n", "etl/nightly"),
        ("schedule get etl/nightly ", "evening\nmorning"),
        ("schedule pause etl/nightly m", "morning"),
        ("schedule get etl/unknown ", ""),
        ("worker start --pool ", "site"),
        ("worker ls --pool s", "site"),
        ("run ls --profile pro", "prod\nprototype"),
        ("worker start --profile prod", "prod"),
        ("config profiles use prot", "prototype"),
        ("config set ad", "address"),
        ("variable set ap", "api_url"),
        ("variable ls --tag ", "web"),
        ("automation pause p", "page-me"),
        ("concurrency set da", "database"),
        ("run find --key k --flow su", "survey"),
        ("run find --key k --deployment e", "etl/nightly"),
        (&cancel, id),
        (&artifacts, id),
        (&deploy, "etl/nightly"),
    ];
    let config = folder.path().join("config.toml");
    for (line, expected) in lines {
        let words: Vec<&str> = std::iter::once("tidegate").chain(line.split(' ')).collect();
        let env =
            [("TIDEGATE_ADDRESS", at), ("TIDEGATE_CONFIG", config.to_str().unwrap()), ("COMPLETE", "fish")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // A server that does not answer at once has nothing offered.
        eventually(&format!("{line}: is completed to {expected:?}"), DEADLINE, async || {
            let ended = Process::start(&program("tidegate"), [&["--"][..], &words].concat(), env.clone());
            let ended = ended.ended(DEADLINE).await;
            // Where nothing is typed yet, options are offered too.
            let names = ended.stdout.lines().map(|told| told.split('\t').next().unwrap_or_default());
            let names: Vec<&str> = names.filter(|name| !name.starts_with("--")).collect();
            (names.join("\n") == expected).then_some(())
        })
        .await;
    }
    let bulk = tidegate(at, &["bulk", "ls", "-o", "name"]).await.stdout;
    assert_eq!(bulk.lines().count(), 1, "{bulk}");
    suite.stop().await;
}

#[tokio::test]
async fn man_pages_are_as_mandoc_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = tidegate("http://127.0.0.1:1", &["man", folder.to_str().unwrap()]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let page = folder.join("tidegate-schedule-create.1");
    let page = page.to_str().unwrap();
    let linted = shell(&["mandoc", "-Tlint", "-Werror", page], "").await;
    assert_eq!(linted.code, Some(0), "{}{}", linted.stdout, linted.stderr);
    let read = shell(&["mandoc", "-Tutf8", page], "").await;
    assert!(read.stdout.contains("Make a schedule of a deployment"), "{}", read.stdout);
}

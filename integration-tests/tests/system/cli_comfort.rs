//! What makes the command line pleasant: forms of answers, watching, filters, profiles, completion.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tidegate_integration_tests::{Ended, Process, Suite, eventually, free_port, program, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::cli::tidegate;

const DEADLINE: Duration = Duration::from_secs(30);

async fn with_env(env: &[(&str, &str)], args: &[&str]) -> Ended {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Process::start(&program("tidegate"), args, env).ended(DEADLINE).await
}

#[tokio::test]
async fn an_answer_comes_in_the_form_that_is_asked_for() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    for name in ["gpu", "night"] {
        assert_eq!(tidegate(at, &["queue", "set", name, "--slots", "2"]).await.code, Some(0));
    }
    assert_eq!(tidegate(at, &["queue", "ls", "-o", "name"]).await.stdout, "gpu\nnight\n");
    let yaml = tidegate(at, &["queue", "get", "gpu", "-o", "yaml"]).await.stdout;
    assert!(yaml.contains("\nmax_slots: 2\n") && yaml.contains("\nname: gpu\n"), "{yaml}");
    let env = [("TIDEGATE_ADDRESS", at), ("TIDEGATE_OUTPUT", "name")];
    assert_eq!(with_env(&env, &["queue", "delete", "gpu"]).await.stdout, "gpu\n");
    let wrong = with_env(&[("TIDEGATE_OUTPUT", "xml")], &["queue", "ls"]).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("TIDEGATE_OUTPUT is `xml`"), "{}", wrong.stderr);

    let run = suite.client().task("add").queue("nobody").delay(&(1, 2)).await.unwrap();
    let plain = tidegate(at, &["run", "ls"]).await.stdout;
    assert!(!plain.contains('\u{1b}'), "a pipe has no colours: {plain}");
    let coloured = tidegate(at, &["run", "ls", "--color", "always"]).await.stdout;
    assert!(coloured.contains("\u{1b}[33mSCHEDULED\u{1b}[0m"), "{coloured}");
    assert_eq!(tidegate(at, &["run", "ls", "-o", "name"]).await.stdout, format!("{}\n", run.id()));
    suite.stop().await;
}

#[tokio::test]
async fn a_watch_shows_what_changes_and_ends_when_nobody_looks() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let args = ["queue", "ls", "--watch", "--interval", "100ms", "-o", "name", "--address", at];
    let watched = Process::start(&program("tidegate"), args, []);
    for name in ["gpu", "night"] {
        assert_eq!(tidegate(at, &["queue", "set", name, "--slots", "2"]).await.code, Some(0));
        watched.line(name, DEADLINE).await;
    }
    watched.signal("INT");
    let ended = watched.ended(DEADLINE).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));

    let mut command = Command::new(program("tidegate"));
    command.args(args).stdout(Stdio::piped()).kill_on_drop(true);
    let mut unread = command.spawn().unwrap();
    let mut lines = BufReader::new(unread.stdout.take().unwrap()).lines();
    within("the first line", DEADLINE, lines.next_line()).await.unwrap();
    drop(lines);
    let status = within("the end of a watch that nobody reads", DEADLINE, unread.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    suite.stop().await;
}

#[tokio::test]
async fn profiles_say_what_nobody_else_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("of/mine.toml");
    let file = file.to_str().unwrap();
    let config =
        async |args: &[&str]| with_env(&[("TIDEGATE_CONFIG", file)], &[&["config"], args].concat()).await;
    for args in [
        &["set", "namespace", "etl"][..],
        &["profiles", "create", "prod"],
        &["set", "address", "http://10.0.0.1:4400", "--profile", "prod"],
        &["profiles", "use", "prod"],
    ] {
        let ended = config(args).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let env = [("TIDEGATE_CONFIG", file), ("TIDEGATE_NAMESPACE", "of-env")];
    let args = ["config", "view", "--sources", "--color", "never", "-o", "json"];
    let shown: Value = serde_json::from_str(&with_env(&env, &args).await.stdout).unwrap();
    for (key, value, source) in [
        ("profile", "prod", ":1"),
        ("address", "http://10.0.0.1:4400", "profile prod, "),
        ("namespace", "of-env", "environment TIDEGATE_NAMESPACE"),
        ("output", "json", "option --output"),
        ("color", "never", "option --color"),
    ] {
        assert_eq!(shown[key]["value"], value, "{shown}");
        assert!(shown[key]["source"].as_str().unwrap().contains(source), "{shown}");
    }
    let listed = config(&["profiles", "ls", "-o", "name"]).await;
    assert_eq!(listed.stdout, "default\nprod\n");
    for (args, code, told) in [
        (&["set", "address", "ftp://h"][..], 2, "`ftp://h` is no address"),
        (&["set", "adress", "http://h"][..], 2, "a similar value exists: 'address'"),
        (&["profiles", "use", "nightly"][..], 3, "it has `default`, `prod`"),
        (&["profiles", "delete", "prod"][..], 1, "is the one that is used"),
    ] {
        let ended = config(args).await;
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{args:?}: {}", ended.stderr);
    }
    std::fs::write(file, "[profiles.a]\n\naddres = \"x\"\n").unwrap();
    let wrong = config(&["view"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("line 3: unknown field `addres`"), "{}", wrong.stderr);
}

#[tokio::test]
async fn a_shell_is_offered_commands_and_names_of_things() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    for name in ["gpu", "gpu-night", "other"] {
        assert_eq!(tidegate(at, &["queue", "set", name, "--slots", "2"]).await.code, Some(0));
    }
    // By the protocol of the engine, as fish and zsh call it.
    let offered = async |at: &str, words: &[&str]| {
        let env = [("TIDEGATE_ADDRESS", at), ("COMPLETE", "fish")];
        let ended = with_env(&env, &[&["--", "tidegate"], words].concat()).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        ended.stdout
    };
    assert!(offered(at, &["que"]).await.starts_with("queue\t"), "a noun");
    // A server that does not answer at once has nothing offered.
    eventually("names are offered", DEADLINE, async || {
        let names = offered(at, &["queue", "get", "gpu"]).await;
        names.lines().eq(["gpu", "gpu-night"]).then_some(())
    })
    .await;
    eventually("the server is the one of the line", DEADLINE, async || {
        let named = offered("http://127.0.0.1:1", &["queue", "--address", at, "get", "oth"]).await;
        (named.trim_end() == "other").then_some(())
    })
    .await;
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(offered(&nowhere, &["queue", "get", "gpu"]).await.trim_end(), "", "silence without a server");
    suite.stop().await;
}

#[tokio::test]
async fn a_name_that_is_not_there_is_met_by_what_is_like_it() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    suite.client().core().create_deployment("etl/nightly", Default::default(), false).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[profiles.prod]\n").unwrap();
    for args in [
        &["schedule", "create", "etl/nightly", "morning", "--cron", "0 3 1 1 *"][..],
        &["queue", "set", "gpu-night", "--slots", "2"],
        &["pool", "create", "site"],
        &["variable", "set", "api_url", "x"],
        &["concurrency", "set", "database", "2"],
    ] {
        assert_eq!(tidegate(at, args).await.code, Some(0), "{args:?}");
    }
    let env = [("TIDEGATE_ADDRESS", at), ("TIDEGATE_CONFIG", config.to_str().unwrap())];
    for (line, near) in [
        ("deployment get etl/nigthly", "etl/nightly"),
        ("schedule get etl/nightly mornin", "etl/nightly morning"),
        ("schedule delete etl/nihtly morning", "etl/nightly morning"),
        ("queue delete gpu-nigth", "gpu-night"),
        ("pool get sitte", "site"),
        ("variable get api_ulr", "api_url"),
        ("concurrency get databse", "database"),
        ("run ls --profile prd", "prod"),
        ("config profiles delete prdo", "prod"),
    ] {
        let ended = with_env(&env, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(ended.code, Some(3), "{line}: {}", ended.stderr);
        let told = format!("did you mean `{near}`?");
        assert!(ended.stderr.contains(&told), "{line}: {}", ended.stderr);
    }
    let far = with_env(&env, &["variable", "get", "something_else"]).await;
    assert!(far.code == Some(3) && !far.stderr.contains("did you mean"), "{}", far.stderr);
    suite.stop().await;
}

#[tokio::test]
async fn lists_are_selected_by_their_fields() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    for (name, slots) in [("gpu", "2"), ("gpu-night", "8"), ("other", "8")] {
        assert_eq!(tidegate(at, &["queue", "set", name, "--slots", slots]).await.code, Some(0));
        assert_eq!(tidegate(at, &["pool", "create", name, "--slots", slots]).await.code, Some(0));
        assert_eq!(tidegate(at, &["concurrency", "set", name, slots]).await.code, Some(0));
        assert_eq!(tidegate(at, &["variable", "set", name, slots]).await.code, Some(0));
    }
    assert_eq!(tidegate(at, &["queue", "pause", "other"]).await.code, Some(0));
    for (noun, filter, expected) in [
        ("queue", "max_slots > 4", "gpu-night\nother\n"),
        ("queue", "name = gpu* -pause:*", "gpu\ngpu-night\n"),
        ("pool", "type = process AND max_slots = 2", "gpu\n"),
        ("concurrency", "name = gpu-n*", "gpu-night\n"),
        ("variable", "name = (gpu OR other)", "gpu\nother\n"),
        ("schedule", "cron:*", ""),
        ("artifact", "key = a", ""),
        ("bulk", "id = a", ""),
    ] {
        let listed = tidegate(at, &[noun, "ls", "--filter", filter, "-o", "name"]).await;
        assert_eq!((listed.code, listed.stdout.as_str()), (Some(0), expected), "{noun}: {}", listed.stderr);
    }
    for (noun, filter, told) in [
        ("queue", "slots = 2", "`slots` is no field"),
        ("queue", "name =", "at column 7: a value is missing"),
        ("queue", "max_slot > 1", "did you mean `max_slots`?"),
        // Of nothing at all, too.
        ("schedule", "pause.raeson = x", "did you mean `pause.reason`?"),
        ("artifact", "keys = a", "did you mean `key`?"),
        ("bulk", "sate = x", "did you mean `state`?"),
        ("worker", "nam = x", "did you mean `name`?"),
    ] {
        let wrong = tidegate(at, &[noun, "ls", "--filter", filter]).await;
        assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
        assert!(wrong.stderr.contains(told), "{}", wrong.stderr);
    }
    suite.stop().await;
}

#[tokio::test]
async fn a_worker_looks_for_its_server_where_the_profile_says() {
    let suite = Suite::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let text = format!("profile = \"lab\"\n[profiles.lab]\naddress = \"{}\"\n", suite.address());
    std::fs::write(&file, text).unwrap();
    let env = [("TIDEGATE_CONFIG", file.to_str().unwrap())];
    // The server is found, and has no such pool.
    let start = ["worker", "start", "--pool", "nowhere"];
    let found = with_env(&env, &start).await;
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(found.stderr.contains("tidegate pool create nowhere"), "{}", found.stderr);
    let unknown = with_env(&env, &[&start[..], &["--profile", "prod"]].concat()).await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("it has `lab`"), "{}", unknown.stderr);
    let help = with_env(&env, &["worker", "start", "--help"]).await;
    assert!(help.stdout.contains(suite.address()), "{}", help.stdout);
    let env = [env[0], ("TIDEGATE_ADDRESS", "http://10.0.0.1:4400")];
    let help = with_env(&env, &["worker", "start", "--help"]).await;
    assert!(help.stdout.contains("10.0.0.1") && !help.stdout.contains(suite.address()), "{}", help.stdout);
    suite.stop().await;
}

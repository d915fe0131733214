//! Completion in real shells, and man pages as a formatter of them reads them.

use std::{path::Path, time::Duration};

use tidegate_integration_tests::{Ended, Process, Suite, program};

use crate::cli::tidegate;

const DEADLINE: Duration = Duration::from_secs(30);

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
        let ended = shell(&command, at).await;
        assert_eq!(
            (ended.code, ended.stdout.trim()),
            (Some(0), "gpu-night"),
            "{}: {}",
            command[0],
            ended.stderr
        );
    }
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

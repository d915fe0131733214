//! The command line as a person has it: on a terminal.

use std::time::Duration;

use tidegate_integration_tests::{Suite, Terminal, program};
use tidegate_sdk::proto::StateType;

use crate::cli::tidegate;

const DEADLINE: Duration = Duration::from_secs(30);

fn on_terminal(at: &str, args: &[&str], env: &[(&str, &str)], n_rows: u16) -> Terminal {
    let env = [env, &[("TIDEGATE_ADDRESS", at)]].concat();
    Terminal::start(&program("tidegate"), args, &env, n_rows)
}

#[tokio::test]
async fn a_terminal_has_colours_unless_somebody_does_not_want_them() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    suite.client().task("add").queue("nobody").delay(&(1, 2)).await.unwrap();
    let shown = async |args: &[&str], env: &[(&str, &str)]| {
        let (code, shown) = on_terminal(at, &[&["run", "ls"], args].concat(), env, 24).ended(DEADLINE).await;
        assert!(code == 0 && shown.contains("SCHEDULED"), "{shown:?}");
        shown
    };
    let coloured = "\u{1b}[33mSCHEDULED\u{1b}[0m";
    assert!(shown(&[], &[]).await.contains(coloured));
    for (args, env) in [
        (&["--color", "never"][..], &[][..]),
        (&[], &[("NO_COLOR", "1")]),
        (&[], &[("TIDEGATE_COLOR", "never")]),
        (&["-o", "json"], &[]),
    ] {
        let shown = shown(args, env).await;
        assert!(!shown.contains('\u{1b}'), "{args:?} {env:?}: {shown:?}");
    }
    // Empty is as if it were not set, and what is said goes over it.
    assert!(shown(&[], &[("NO_COLOR", "")]).await.contains(coloured));
    assert!(shown(&["--color", "always"], &[("NO_COLOR", "1")]).await.contains(coloured));
    suite.stop().await;
}

#[tokio::test]
async fn a_person_is_asked_whether_so_many_runs_are_meant() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    let runs = suite.client().task("add").queue("nobody").delay_many(&[(1, 1), (2, 2)]).await.unwrap();
    let states = async || {
        let mut states = Vec::new();
        for run in &runs {
            states.push(run.state().await.unwrap().r#type());
        }
        states
    };
    let cancel = ["run", "cancel", "--filter", "queue = nobody"];
    for (keys, code, told) in [
        ("n\r", 1, "nothing was done"),
        // Without an answer, and with one that is neither.
        ("\r", 1, "nothing was done"),
        ("maybe\r", 1, "nothing was done"),
        // Nothing more to come.
        ("\x04", 1, "nothing was done"),
        // Ctrl-C: by the signal.
        ("\x03", 130, ""),
    ] {
        let mut asked = on_terminal(at, &cancel, &[], 24);
        asked.shows("cancel 2 runs? [y/N] ", DEADLINE).await;
        asked.types(keys).await;
        let (ended, shown) = asked.ended(DEADLINE).await;
        assert!(ended == code && shown.contains(told), "{keys:?}: {ended}: {shown:?}");
        assert_eq!(states().await, [StateType::Scheduled; 2], "{keys:?}");
    }
    let mut asked = on_terminal(at, &cancel, &[], 24);
    asked.shows("cancel 2 runs? [y/N] ", DEADLINE).await;
    let third = suite.client().task("add").queue("nobody").delay(&(3, 3)).await.unwrap();
    asked.types("y\r").await;
    let (code, shown) = asked.ended(DEADLINE).await;
    assert!(code == 1 && shown.contains("by now it is 3 runs, not 2"), "{code}: {shown:?}");
    assert_eq!(states().await, [StateType::Scheduled; 2], "what was not asked about is not done");
    let mut asked = on_terminal(at, &cancel, &[], 24);
    asked.shows("cancel 3 runs? [y/N] ", DEADLINE).await;
    asked.types("y\r").await;
    let (code, shown) = asked.ended(DEADLINE).await;
    assert_eq!(code, 0, "{shown:?}");
    assert!(shown.contains("tidegate bulk get"), "{shown:?}");
    assert_eq!(states().await, [StateType::Cancelled; 2]);
    assert_eq!(third.state().await.unwrap().r#type(), StateType::Cancelled);
    suite.stop().await;
}

#[tokio::test]
async fn a_watch_that_is_taller_than_the_terminal_shows_what_fits() {
    let suite = Suite::embedded().await;
    let at = suite.address();
    for n in 0..9 {
        assert_eq!(tidegate(at, &["queue", "set", &format!("q{n}"), "--slots", "2"]).await.code, Some(0));
    }
    let mut watched = on_terminal(at, &["queue", "ls", "--watch", "--interval", "100ms"], &[], 8);
    // The names, five queues, the line that counts, and the row of the cursor.
    let shown = watched.shows("… 4 more", DEADLINE).await;
    assert!(shown.contains("q4") && !shown.contains("q5"), "{shown:?}");
    assert_eq!(tidegate(at, &["queue", "set", "q0", "--slots", "77"]).await.code, Some(0));
    let shown = watched.shows("77", DEADLINE).await;
    let (_, last) = shown.rsplit_once("\u{1b}[H\u{1b}[J").expect("is drawn again in place");
    assert!(last.matches('\n').count() <= 7, "no line more than there are rows: {last:?}");
    // Elsewhere nothing is left out.
    assert_eq!(tidegate(at, &["queue", "ls"]).await.stdout.lines().count(), 10);
    watched.types("\x03").await;
    let (code, shown) = watched.ended(DEADLINE).await;
    assert_eq!(code, 0, "{shown:?}");
    suite.stop().await;
}

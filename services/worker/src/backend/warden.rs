//! A process that outlives a killed worker for a moment, and ends the groups of its jobs.

use std::{
    collections::BTreeSet,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

/// It hears of groups on a pipe that the worker holds open: when that is closed, the worker has ended, however that came.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
groups=' '
while read -r word group; do
  case $word in
    watch) groups="$groups$group " ;;
    forget)
      left=' '
      for other in $groups; do [ "$other" = "$group" ] || left="$left$other "; done
      groups=$left ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

/// Speaks to the warden of this worker. A few bytes into a pipe that is read at once: nobody waits for it.
#[derive(Default)]
pub(super) struct Warden(Mutex<State>);

#[derive(Default)]
struct State {
    groups: BTreeSet<i32>,
    warden: Option<(Child, ChildStdin)>,
}

impl Warden {
    /// From now on this group does not outlive the worker.
    ///
    /// # Errors
    /// Where the warden cannot be started.
    pub(super) fn watch(&self, group: i32) -> std::io::Result<()> {
        let mut state = self.lock();
        state.groups.insert(group);
        state.say(&format!("watch {group}\n"))
    }

    /// The group has ended.
    pub(super) fn forget(&self, group: i32) {
        let mut state = self.lock();
        state.groups.remove(&group);
        if let Err(error) = state.say(&format!("forget {group}\n")) {
            warn!("the warden of the jobs cannot be spoken to: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says `words`. A warden that is gone, someone may have killed it, is followed by another, which hears everything.
    fn say(&mut self, words: &str) -> std::io::Result<()> {
        if let Some((_, stdin)) = &mut self.warden
            && stdin.write_all(words.as_bytes()).is_ok()
        {
            return Ok(());
        }
        if let Some((mut gone, _)) = self.warden.take() {
            let _ = gone.kill(); // so that it can be waited for
            let _ = gone.wait();
        }
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "tidegate-warden"])
            .process_group(0) // what is sent to the worker's group is not for it
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut stdin =
            child.stdin.take().ok_or_else(|| std::io::Error::other("it has no standard input"))?;
        let all: String = self.groups.iter().map(|group| format!("watch {group}\n")).collect();
        stdin.write_all(all.as_bytes())?;
        self.warden = Some((child, stdin));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
    }

    fn group_of(child: &Child) -> i32 {
        child.id().cast_signed()
    }

    #[test]
    fn the_groups_of_a_worker_that_is_gone_are_ended() {
        let (mut watched, mut forgotten) = (sleeper(), sleeper());
        let warden = Warden::default();
        warden.watch(group_of(&watched)).unwrap();
        warden.watch(group_of(&forgotten)).unwrap();
        warden.forget(group_of(&forgotten));
        let (mut process, stdin) = warden.lock().warden.take().unwrap();
        drop(stdin); // as the end of this process would
        watched.wait().unwrap();
        process.wait().unwrap();
        assert!(forgotten.try_wait().unwrap().is_none(), "it is none of its business any more");
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }

    #[test]
    fn a_warden_that_was_killed_is_followed_by_another() {
        let (mut first, mut second) = (sleeper(), sleeper());
        let warden = Warden::default();
        warden.watch(group_of(&first)).unwrap();
        if let Some((process, _)) = &mut warden.lock().warden {
            kill(Pid::from_raw(group_of(process)), Signal::SIGKILL).unwrap();
            process.wait().unwrap();
        }
        warden.watch(group_of(&second)).unwrap();
        drop(warden);
        first.wait().unwrap();
        second.wait().unwrap();
    }
}

//! Processes that a job has started, wherever they went: each has the job's mark in its environment.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// The variable whose value is the mark of a job.
pub(super) const MARK: &str = "TIDEGATE_JOB";
/// How often it is looked for processes again that a dying one has started: each time there are fewer.
const MAX_ROUNDS: usize = 20;

/// A process that can be told from a later one of the same id.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// When it was started, in the clock of the system's start.
    started: u64,
    /// Which start of the system.
    boot: String,
}

impl Identity {
    /// That of a process; `None` where there is none.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program, in parentheses, may have blanks; the field is the 20th behind it.
        let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(Self { pid, started, boot: boot.trim().to_owned() })
    }

    /// True while it is there.
    pub(super) fn is_there(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// Sends a signal to the group of a job's first process.
pub(super) fn signal_group(group: i32, signal: Signal) {
    let _ = killpg(Pid::from_raw(group), signal); // it may have ended meanwhile
}

/// Ends all processes with this mark, and what they start meanwhile. Gives how many there were.
pub(super) fn end_marked(mark: &str) -> usize {
    let mut n_ended = 0;
    let mut was_empty = false;
    for _ in 0..MAX_ROUNDS {
        let marked = marked(Path::new("/proc"), mark);
        // One that is just becoming another program has no environment for a moment.
        if marked.is_empty() && was_empty {
            break;
        }
        was_empty = marked.is_empty();
        n_ended += marked.len();
        for pid in marked {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    n_ended
}

/// Processes with this mark that have not ended.
fn marked(proc: &Path, mark: &str) -> Vec<i32> {
    let variable = format!("{MARK}={mark}");
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let is_marked = |pid: &i32| {
        // That of a process of another user cannot be read, and so it is not one of ours. One that has ended has none.
        let environment = fs::read(proc.join(pid.to_string()).join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_marked).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_has_left_its_group_is_found_by_its_mark() {
        let mark = format!("test-{}", std::process::id());
        let mut child = Command::new("setsid")
            .args(["--wait", "sleep", "600"])
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        while end_marked(&mark) == 0 {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(marked(Path::new("/proc"), &mark).is_empty());
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let here = Identity::of(std::process::id().cast_signed()).unwrap();
        assert!(here.is_there());
        assert!(!Identity { started: here.started + 1, ..here.clone() }.is_there());
        assert!(!Identity { boot: "another".into(), ..here }.is_there());
    }
}

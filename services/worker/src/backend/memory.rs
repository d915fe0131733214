//! How many processes the system has killed for want of memory.

use std::{fs, path::Path};

/// The counters at one time; where the system does not tell them, zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OomKills {
    /// In the control group of this process, which its jobs share.
    group: u64,
    /// On the whole machine.
    machine: u64,
}

impl OomKills {
    pub(super) fn now() -> Self {
        Self { group: of_group(), machine: counter(Path::new("/proc/vmstat"), "oom_kill") }
    }

    /// What they tell of a process that was killed after `before`. Empty: nothing.
    pub(super) fn note(self, before: Self) -> &'static str {
        if self.group > before.group {
            "out of memory: the control group of the worker is at its memory limit"
        } else if self.machine > before.machine {
            "probably out of memory: the system killed a process for want of it meanwhile"
        } else {
            ""
        }
    }
}

fn of_group() -> u64 {
    let Ok(groups) = fs::read_to_string("/proc/self/cgroup") else { return 0 };
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.events")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.oom_control")
        } else {
            continue;
        };
        // Inside of a container the path is often that of the host, and the group is at the top.
        let below = Path::new(root).join(path.trim_start_matches('/')).join(file);
        let found = [below, Path::new(root).join(file)].into_iter().find(|file| file.exists());
        if let Some(file) = found {
            return counter(&file, "oom_kill");
        }
    }
    0
}

fn counter(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        fs::write(&file, "oom 7\noom_kill 3\noom_group_kill 9\n").unwrap();
        assert_eq!(counter(&file, "oom_kill"), 3);
        assert_eq!(counter(&dir.path().join("none"), "oom_kill"), 0);
    }

    #[test]
    fn the_group_of_the_worker_says_more_than_the_machine() {
        let before = OomKills { group: 1, machine: 1 };
        assert_eq!(before.note(before), "");
        assert!(OomKills { group: 2, machine: 2 }.note(before).contains("control group"));
        assert!(OomKills { group: 1, machine: 2 }.note(before).contains("probably"));
    }
}

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
    /// What `/proc` and `/sys` below `root` tell.
    pub(super) fn now(root: &Path) -> Self {
        Self { group: of_group(root), machine: counter(&root.join("proc/vmstat"), "oom_kill") }
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

fn of_group(system: &Path) -> u64 {
    let Ok(groups) = fs::read_to_string(system.join("proc/self/cgroup")) else { return 0 };
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.events")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.oom_control")
        } else {
            continue;
        };
        // Inside of a container the path is often that of the host, and the group is at the top.
        let root = system.join(root);
        let below = root.join(path.trim_start_matches('/')).join(file);
        let found = [below, root.join(file)].into_iter().find(|file| file.exists());
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
    fn the_group_is_that_of_either_version_and_of_a_container() {
        for (group, file) in [
            ("0::/jobs.slice/worker\n", "sys/fs/cgroup/jobs.slice/worker/memory.events"),
            // Inside of a container the path is that of the host.
            ("0::/docker/0123\n", "sys/fs/cgroup/memory.events"),
            ("3:cpu:/\n5:hugetlb,memory:/worker\n", "sys/fs/cgroup/memory/worker/memory.oom_control"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            assert_eq!(OomKills::now(dir.path()), OomKills::default(), "nothing is told");
            write("proc/self/cgroup", group);
            write("proc/vmstat", "nr_free_pages 1\noom_kill 2\n");
            write(file, "oom_kill 5\n");
            assert_eq!(OomKills::now(dir.path()), OomKills { group: 5, machine: 2 }, "{group}");
        }
    }

    #[test]
    fn the_group_of_the_worker_says_more_than_the_machine() {
        let before = OomKills { group: 1, machine: 1 };
        assert_eq!(before.note(before), "");
        assert!(OomKills { group: 2, machine: 2 }.note(before).contains("control group"));
        assert!(OomKills { group: 1, machine: 2 }.note(before).contains("probably"));
    }
}

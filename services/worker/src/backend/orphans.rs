//! What is written down of a job while it runs, so that the next worker can end what this one leaves behind.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::escaped::{self, Identity};

/// A job, as its file tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The worker whose job it is.
    pub(super) worker: Option<Identity>,
    /// What all its processes have in their environment.
    pub(super) mark: String,
    /// Its first process, which leads its group. Unset: it was about to be started.
    pub(super) leader: Option<Identity>,
    /// Its working directory, where that is to be taken away.
    pub(super) directory: Option<PathBuf>,
}

impl Note {
    /// Writes it down under a name of its own; all of it, or nothing.
    pub(super) fn write(&self, file: &Path) -> std::io::Result<()> {
        let new = file.with_extension("new");
        let mut written = fs::File::create(&new)?;
        written.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(new, file)
    }
}

/// Ends the jobs of workers that have ended, whose notes are in `dir`. Gives how many processes there were.
pub(super) fn end_orphans(dir: &Path) -> std::io::Result<usize> {
    let mut n_ended = 0;
    for entry in fs::read_dir(dir)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let note: Note = match fs::read(&file).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(note)) => note,
            Ok(Err(error)) => {
                warn!("{} cannot be read and is taken away: {error}", file.display());
                remove_file(&file);
                continue;
            }
            Err(_) => continue, // another worker was faster
        };
        if note.worker.as_ref().is_some_and(Identity::is_there) {
            continue;
        }
        let leads = note.leader.filter(Identity::is_there);
        if let Some(leader) = &leads {
            escaped::signal_group(leader.pid, Signal::SIGKILL);
        }
        let n_processes = usize::from(leads.is_some()) + escaped::end_marked(&note.mark);
        if n_processes > 0 {
            info!("{n_processes} processes of a worker that has ended were there still, and are ended");
        }
        n_ended += n_processes;
        if let Some(directory) = note.directory {
            remove_dir(&directory);
        }
        remove_file(&file);
    }
    Ok(n_ended)
}

/// Takes a directory away with all that is in it.
pub(super) fn remove_dir(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != ErrorKind::NotFound
    {
        warn!("{} cannot be taken away: {error}", directory.display());
    }
}

/// Takes a file away.
pub(super) fn remove_file(file: &Path) {
    if let Err(error) = fs::remove_file(file)
        && error.kind() != ErrorKind::NotFound
    {
        warn!("{} cannot be taken away: {error}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;

    #[test]
    fn the_jobs_of_a_worker_that_has_ended_are_ended_and_those_of_another_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("left");
        fs::create_dir(&left).unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        let worker = Identity::of(gone.id().cast_signed());
        gone.wait().unwrap();
        let sleeper = |mark: &str| {
            let mut command = Command::new("sleep");
            command.arg("600").env(escaped::MARK, mark).process_group(0).spawn().unwrap()
        };
        let mark = |name: &str| format!("{name}-{}", std::process::id());
        let (mut orphan, mut other) = (sleeper(&mark("orphan")), sleeper(&mark("other")));
        let note = |worker, mark: String, child: &std::process::Child, directory| Note {
            worker,
            mark,
            leader: Identity::of(child.id().cast_signed()),
            directory,
        };
        let file = |name: &str| dir.path().join(name);
        note(worker, mark("orphan"), &orphan, Some(left.clone())).write(&file("orphan.json")).unwrap();
        let here = Identity::of(std::process::id().cast_signed());
        note(here, mark("other"), &other, None).write(&file("other.json")).unwrap();
        fs::write(file("torn.json"), "{").unwrap();
        assert!(end_orphans(dir.path()).unwrap() >= 1);
        orphan.wait().unwrap();
        assert!(!left.exists() && !file("orphan.json").exists() && !file("torn.json").exists());
        assert!(other.try_wait().unwrap().is_none() && file("other.json").exists());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

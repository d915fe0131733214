//! Who of several workers a job outside of this machine belongs to.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use anyhow::{Context as _, bail};

use super::marks::label_value;

/// How many workers of one name, group and data directory there may be.
const MAX_WORKERS: usize = 1_000;

/// The name under which a worker finds its jobs again after it was started anew. Nobody else has it meanwhile.
#[derive(Debug)]
pub(super) struct Owner {
    name: String,
    _lock: File,
}

impl Owner {
    /// `name` among the workers of `group`, or, where a worker with it lives on this machine, the first of `name-2`, `name-3`, … that is free.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub(super) fn of(name: &str, group: &str, data_dir: &Path) -> anyhow::Result<Self> {
        let dir = data_dir.join("workers");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.with_context(|| format!("make the directory {}", dir.display()))?;
        for n in 1..=MAX_WORKERS {
            let name = if n == 1 { name.to_owned() } else { format!("{name}-{n}") };
            let file = dir.join(format!("{}.lock", label_value(&format!("{group}/{name}"))));
            let lock = File::create(&file).with_context(|| format!("open {}", file.display()))?;
            if lock.try_lock().is_ok() {
                return Ok(Self { name, _lock: lock });
            }
        }
        bail!("{MAX_WORKERS} workers called {name} are at work for the same pool: give this one a `--name`")
    }

    /// As it is written to jobs.
    pub(super) fn label(&self) -> String {
        label_value(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_its_name_alone_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let first = Owner::of("host", "gpu", dir.path()).unwrap();
        let second = Owner::of("host", "gpu", dir.path()).unwrap();
        let of_another_pool = Owner::of("host", "cpu", dir.path()).unwrap();
        assert_eq!((first.label(), second.label()), ("host".into(), "host-2".into()));
        assert_eq!(of_another_pool.label(), "host");
        drop(first);
        assert_eq!(Owner::of("host", "gpu", dir.path()).unwrap().label(), "host");
    }
}

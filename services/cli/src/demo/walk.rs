//! Which files the demo takes: all regular files below a folder, but for what is below folders of the names in
//! [`SKIPPED`]. Symbolic links are not followed and not taken. It is what this says:
//!
//! ```sh
//! find . -type d \( -name .git -o -name target -o -name node_modules -o -name .venv \) -prune -o -type f -print
//! ```

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Folders of these names are skipped, wherever they are: they hold what tools have made of the sources.
pub const SKIPPED: [&str; 4] = [".git", "target", "node_modules", ".venv"];

/// The name of the group of files that are in no folder.
pub const TOP: &str = ".";

/// The top-level folders below `root`, sorted, with [`TOP`] first where there are files beside them.
///
/// # Errors
/// `root` cannot be read.
pub fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let mut has_files = false;
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && !is_skipped(&entry.path()) {
            folders.push(PathBuf::from(entry.file_name()));
        }
        has_files |= kind.is_file();
    }
    folders.sort();
    if has_files {
        folders.insert(0, PathBuf::from(TOP));
    }
    Ok(folders)
}

/// The files below `root`/`folder` (for [`TOP`]: those in no folder), relative to `root`, sorted by their bytes.
/// A folder that cannot be read counts as empty, as it does for `find`.
pub fn files(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let is_top = folder == Path::new(TOP);
    let start = if is_top { PathBuf::new() } else { folder.to_owned() };
    let mut files = Vec::new();
    let mut open = vec![start];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = folder.join(entry.file_name());
            if kind.is_file() {
                files.push(path);
            } else if kind.is_dir() && !is_top && !is_skipped(&path) {
                open.push(path);
            }
        }
    }
    files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    files
}

/// How many files there are below `root`, by top-level folder.
///
/// # Errors
/// `root` cannot be read.
pub fn count(root: &Path) -> io::Result<BTreeMap<PathBuf, usize>> {
    Ok(folders(root)?.into_iter().map(|folder| (folder.clone(), files(root, &folder).len())).collect())
}

fn is_skipped(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_grouped_by_their_uppermost_folder() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a.txt", "src/b.rs", "src/deep/c.rs", "src/target/no.o", ".git/HEAD", "empty/.git/x"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("a.txt", root.path().join("src/link")).unwrap();
        let root = root.path();
        assert_eq!(folders(root).unwrap(), [".", "empty", "src"].map(PathBuf::from));
        assert_eq!(files(root, Path::new(TOP)), [PathBuf::from("a.txt")]);
        assert_eq!(files(root, Path::new("src")), ["src/b.rs", "src/deep/c.rs"].map(PathBuf::from));
        assert_eq!(count(root).unwrap().values().sum::<usize>(), 3);
    }
}

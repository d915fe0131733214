//! Unpacking an archive: nothing of it leads out of its directory, and it may not grow without bound.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

/// Bytes and files of what is unpacked.
const MAX_BYTES: u64 = 4 << 30;
const MAX_FILES: usize = 200_000;

/// Unpacks `file`, a tar, a compressed tar or a zip, into `target`, until `is_stopped`.
pub(super) fn unpack(file: &Path, target: &Path, is_stopped: &AtomicBool) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let mut opened = File::open(file)?;
    let mut magic = Vec::new();
    opened.by_ref().take(4).read_to_end(&mut magic)?;
    opened.rewind()?;
    let reader = BufReader::new(opened);
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => tar(MultiGzDecoder::new(reader), target, is_stopped),
        [b'P', b'K', ..] => zip(reader, target, is_stopped),
        _ => tar(reader, target, is_stopped),
    }
}

fn tar(reader: impl Read, target: &Path, is_stopped: &AtomicBool) -> io::Result<()> {
    // A compressed archive may grow without end.
    let mut archive = tar::Archive::new(Bounded { reader, left: MAX_BYTES });
    let mut left = MAX_BYTES;
    for (idx, entry) in archive.entries()?.enumerate() {
        go_on(idx, is_stopped)?;
        let mut entry = entry?;
        // A file with holes is larger than what is read of it.
        left = left.checked_sub(entry.size()).ok_or_else(too_large)?;
        let path = entry.path()?.into_owned();
        if !entry.unpack_in(target)? {
            return Err(wrong(format!("`{}` leads out of it", path.display())));
        }
    }
    Ok(())
}

fn zip(reader: BufReader<File>, target: &Path, is_stopped: &AtomicBool) -> io::Result<()> {
    let mut archive = ZipArchive::new(reader).map_err(|error| wrong(error.to_string()))?;
    let mut left = MAX_BYTES;
    for idx in 0..archive.len() {
        go_on(idx, is_stopped)?;
        let mut entry = archive.by_index(idx).map_err(|error| wrong(error.to_string()))?;
        let Some(path) = entry.enclosed_name() else {
            return Err(wrong(format!("`{}` leads out of it", entry.name())));
        };
        let path = target.join(path);
        if entry.is_dir() {
            fs::create_dir_all(&path)?;
            continue;
        }
        if entry.is_symlink() {
            return Err(wrong(format!("`{}` is a link, which a zip may not have here", entry.name())));
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mode = entry.unix_mode();
        let mut bounded = Bounded { reader: &mut entry, left };
        io::copy(&mut bounded, &mut File::create(&path)?)?;
        left = bounded.left;
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o755))?;
        }
    }
    Ok(())
}

fn go_on(idx: usize, is_stopped: &AtomicBool) -> io::Result<()> {
    if is_stopped.load(Ordering::Relaxed) {
        return Err(io::Error::other("nobody waits for it any more"));
    }
    if idx >= MAX_FILES {
        return Err(wrong(format!("it has more than {MAX_FILES} files")));
    }
    Ok(())
}

/// A reader that fails where a bound is passed.
struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(n_bytes as u64).ok_or_else(too_large)?;
        Ok(n_bytes)
    }
}

fn too_large() -> io::Error {
    wrong(format!("unpacked it has more than {} MiB", MAX_BYTES >> 20))
}

fn wrong(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        // By its bytes: the builder would refuse a path that leads out.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, content).unwrap();
        builder.into_inner().unwrap()
    }

    fn zip_of(path: &str, content: &[u8]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        writer.start_file(path, zip::write::SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, io::Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("archive");
        fs::write(&file, archive).unwrap();
        let done = unpack(&file, &dir.path().join("code"), &AtomicBool::new(false));
        (dir, done)
    }

    #[test]
    fn all_kinds_are_unpacked_with_their_modes() {
        let tar = tar_of("etl/main.py", b"print()");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar).unwrap();
        for archive in [tar, gzip.finish().unwrap(), zip_of("etl/main.py", b"print()")] {
            let (dir, done) = unpacked(&archive);
            done.unwrap();
            let file = dir.path().join("code/etl/main.py");
            assert_eq!(fs::read(&file).unwrap(), b"print()");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o111, 0o111);
        }
    }

    #[test]
    fn nothing_leads_out() {
        for archive in [tar_of("../escaped", b"x"), zip_of("../escaped", b"x")] {
            let (dir, done) = unpacked(&archive);
            assert!(done.unwrap_err().to_string().contains("leads out"));
            assert!(!dir.path().join("escaped").exists());
        }
    }

    #[test]
    fn what_grows_beyond_the_bound_is_refused() {
        let mut reader = Bounded { reader: io::repeat(0), left: 10 };
        assert!(reader.read(&mut [0; 8]).is_ok());
        assert!(reader.read(&mut [0; 8]).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn a_file_of_holes_counts_with_them() {
        let mut header = tar::Header::new_gnu();
        header.set_path("holes").unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(MAX_BYTES + 1);
        gnu.sparse[0].set_offset(MAX_BYTES + 1);
        gnu.sparse[0].set_length(0);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, &[][..]).unwrap();
        let (dir, done) = unpacked(&builder.into_inner().unwrap());
        assert!(done.unwrap_err().to_string().contains("more than"));
        assert!(!dir.path().join("code/holes").exists());
    }
}

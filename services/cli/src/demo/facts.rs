use std::{
    collections::HashMap,
    io::{self, Read},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::path::PathText;

/// How many words a file or a folder reports: sums over files are of these words.
const MAX_WORDS: usize = 50;
/// Distinct words that are counted in one file; further ones are not.
const MAX_DISTINCT_WORDS: usize = 100_000;
/// Words have 3 to 32 letters.
const WORD_LENGTH: std::ops::RangeInclusive<usize> = 3..=32;
/// How many of the largest files are reported.
const MAX_LARGEST: usize = 5;

/// What the demo finds out about one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Relative to the root.
    pub path: PathText,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its newline characters, as `wc -l` counts.
    pub lines: u64,
    /// The SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// The most frequent words of a text file, most frequent first.
    pub words: Vec<(String, u64)>,
}

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FileOutcome {
    /// It was read.
    #[serde(rename = "read")]
    Read(FileFacts),
    /// It could not be read, and why.
    #[serde(rename = "unreadable")]
    Unreadable(PathText, String),
}

/// What is known of a set of files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// How many files were read.
    pub files: u64,
    /// How many could not be read.
    pub unreadable: u64,
    /// Sum of sizes in bytes.
    pub bytes: u64,
    /// Sum of lines.
    pub lines: u64,
    /// The most frequent words: sums over each file's most frequent ones.
    pub words: Vec<(String, u64)>,
    /// The largest files, largest first.
    pub largest: Vec<(PathText, u64)>,
}

/// A top-level folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FolderFacts {
    /// Its name, `.` for the files that are in no folder.
    pub folder: PathText,
    /// Its sums.
    pub totals: Totals,
    /// The SHA-256 of what `sha256sum` prints for its files in the order of their paths' bytes.
    pub fingerprint: String,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Each top-level folder.
    pub folders: Vec<FolderFacts>,
    /// The sums of all.
    pub totals: Totals,
    /// The SHA-256 of the lines `<fingerprint>  <folder>`, in the order of `folders`.
    pub fingerprint: String,
}

/// Reads a file to its end.
///
/// # Errors
/// Those of `file`.
pub fn read(path: PathText, mut file: impl Read) -> io::Result<FileFacts> {
    let mut facts = FileFacts { path, bytes: 0, lines: 0, sha256: String::new(), words: Vec::new() };
    let mut hash = Sha256::new();
    let mut words = WordCount::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n_read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let chunk = &buffer[..n_read];
        hash.update(chunk);
        facts.bytes += chunk.len() as u64;
        facts.lines += chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
        words.feed(chunk);
    }
    facts.sha256 = hex(&hash.finalize());
    facts.words = words.most_frequent();
    Ok(facts)
}

impl FolderFacts {
    /// Gathers the files of a folder; `outcomes` are in the order of their paths' bytes.
    pub fn of(folder: PathText, outcomes: Vec<FileOutcome>) -> Self {
        let mut totals = Totals::default();
        let mut listing = Sha256::new();
        for outcome in outcomes {
            match outcome {
                FileOutcome::Unreadable(..) => totals.unreadable += 1,
                FileOutcome::Read(file) => {
                    listing.update(format!("{}  ", file.sha256));
                    listing.update(file.path.as_bytes());
                    listing.update("\n");
                    totals.add(Totals {
                        files: 1,
                        unreadable: 0,
                        bytes: file.bytes,
                        lines: file.lines,
                        words: file.words,
                        largest: vec![(file.path, file.bytes)],
                    });
                }
            }
        }
        totals.shorten();
        Self { folder, totals, fingerprint: hex(&listing.finalize()) }
    }
}

impl Inventory {
    /// Gathers the folders.
    pub fn of(folders: Vec<FolderFacts>) -> Self {
        let mut totals = Totals::default();
        let mut listing = Sha256::new();
        for folder in &folders {
            totals.add(folder.totals.clone());
            listing.update(format!("{}  ", folder.fingerprint));
            listing.update(folder.folder.as_bytes());
            listing.update("\n");
        }
        totals.shorten();
        Self { folders, totals, fingerprint: hex(&listing.finalize()) }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.unreadable += other.unreadable;
        self.bytes += other.bytes;
        self.lines += other.lines;
        self.words.extend(other.words);
        self.largest.extend(other.largest);
    }

    /// Sums up equal words and keeps the top of the lists.
    fn shorten(&mut self) {
        let mut counts: HashMap<String, u64> = HashMap::new();
        for (word, n) in self.words.drain(..) {
            *counts.entry(word).or_default() += n;
        }
        self.words = most_frequent(counts);
        self.largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.as_bytes().cmp(b.0.as_bytes())));
        self.largest.truncate(MAX_LARGEST);
    }
}

/// Counts words of a text in pieces. A file with a NUL byte is no text and has no words.
#[derive(Default)]
struct WordCount {
    counts: HashMap<String, u64>,
    word: String,
    is_binary: bool,
}

impl WordCount {
    fn feed(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            if byte.is_ascii_alphabetic() || byte == b'_' {
                // One letter more than a word may have says that this is none.
                if self.word.len() <= *WORD_LENGTH.end() {
                    self.word.push(char::from(byte.to_ascii_lowercase()));
                }
            } else {
                self.end_word();
                self.is_binary |= byte == 0;
            }
        }
    }

    fn end_word(&mut self) {
        if WORD_LENGTH.contains(&self.word.len()) {
            if let Some(count) = self.counts.get_mut(&self.word) {
                *count += 1;
            } else if self.counts.len() < MAX_DISTINCT_WORDS {
                self.counts.insert(self.word.clone(), 1);
            }
        }
        self.word.clear();
    }

    fn most_frequent(mut self) -> Vec<(String, u64)> {
        self.end_word();
        if self.is_binary { Vec::new() } else { most_frequent(self.counts) }
    }
}

fn most_frequent(counts: HashMap<String, u64>) -> Vec<(String, u64)> {
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(MAX_WORDS);
    words
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_counted_as_wc_and_sha256sum_count() {
        let facts = read("x".into(), "one two\ntwo three three\nthree".as_bytes()).unwrap();
        assert_eq!((facts.bytes, facts.lines), (29, 2)); // no newline at the end, so no third line
        assert_eq!(facts.words, [("three".into(), 3), ("two".into(), 2), ("one".into(), 1)]);
        let empty = read("x".into(), io::empty()).unwrap();
        assert_eq!(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn binary_files_and_overlong_words_have_no_words() {
        assert!(read("x".into(), &b"abc\0abc"[..]).unwrap().words.is_empty());
        assert!(read("x".into(), "x".repeat(100).as_bytes()).unwrap().words.is_empty());
    }

    #[test]
    fn folders_sum_up() {
        let file = |path: &str, text: &str| FileOutcome::Read(read(path.into(), text.as_bytes()).unwrap());
        let lost = FileOutcome::Unreadable("a/z".into(), "permission denied".into());
        let a = FolderFacts::of("a".into(), vec![file("a/x", "abc\n"), file("a/y", "abc abcd\n"), lost]);
        let b = FolderFacts::of("b".into(), vec![file("b/x", "abcd abcd abcd")]);
        let all = Inventory::of(vec![a, b]);
        assert_eq!((all.totals.files, all.totals.unreadable), (3, 1));
        assert_eq!((all.totals.bytes, all.totals.lines), (27, 2));
        assert_eq!(all.totals.words, [("abcd".into(), 4), ("abc".into(), 2)]);
        assert_eq!(all.totals.largest[0], ("b/x".into(), 14));
    }
}

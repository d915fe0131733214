//! The check of the contract against what was there before, in clones of every kind.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A clone with a contract of one message.
struct Clone {
    folder: tempfile::TempDir,
}

const BEFORE: &str =
    "syntax = \"proto3\";\n\npackage a.v1;\n\nmessage Berth {\n  string name = 1;\n  int32 depth = 2;\n}\n";

impl Clone {
    /// With `commits` commits, in the first of which is the contract.
    fn new(commits: usize) -> Self {
        let clone = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(clone.root().join("proto/a/v1")).unwrap();
        clone.write(
            "proto/buf.yaml",
            "version: v2\nmodules:\n  - path: .\nbreaking:\n  use:\n    - WIRE_JSON\n",
        );
        clone.write("proto/a/v1/a.proto", BEFORE);
        clone.git(&["init", "--quiet", "--initial-branch=main"]);
        for n in 0..commits {
            clone.commit(&format!("commit {n}"));
        }
        clone
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.root().join(path), text).unwrap();
    }

    fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(self.root()).args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(args);
        let ended = git.output().unwrap();
        assert!(ended.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }

    fn commit(&self, subject: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
    }

    /// Whether the check passes, and all that it says.
    fn check(&self) -> (bool, String) {
        self.check_with(None)
    }

    fn check_with(&self, base: Option<&str>) -> (bool, String) {
        let buf = std::env::var("TIDEGATE_TEST_BUF").unwrap_or_else(|_| "buf".to_owned());
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto-breaking");
        let mut command = Command::new(script);
        command.arg(buf).arg(self.root()).env_remove("TIDEGATE_PROTO_BASE").env_remove("GIT_DIR");
        if let Some(base) = base {
            command.env("TIDEGATE_PROTO_BASE", base);
        }
        let ended = command.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8(said).unwrap())
    }
}

/// Asserts that it ended so and said this.
#[track_caller]
fn says((passes, said): (bool, String), expected: bool, told: &str) {
    assert!(passes == expected && said.contains(told), "{passes}: {said}");
}

#[test]
fn a_break_of_the_contract_is_told_unless_it_is_allowed_with_its_reason() {
    let clone = Clone::new(2);
    says(clone.check(), true, "against the commit before");
    clone.write("proto/a/v1/a.proto", &BEFORE.replace("}\n", "  string owner = 3;\n}\n"));
    says(clone.check(), true, "against the commit before");
    clone.write("proto/a/v1/a.proto", &BEFORE.replace("int32 depth = 2", "string depth = 2"));
    let (passes, said) = clone.check();
    assert!(!passes && said.contains("a/v1/a.proto:7: Field \"2\""), "{said}");
    let line =
        said.lines().find_map(|line| line.trim().strip_prefix("proto/breaking-allowed.txt, with the line: "));
    let line = line.expect("tells how it is allowed").to_owned();
    clone.write("proto/breaking-allowed.txt", &format!("{line}\n"));
    says(clone.check(), false, "proto/breaking-allowed.txt:1: has no reason");
    clone.write("proto/breaking-allowed.txt", &format!("# No client reads it.\n{line}\n"));
    says(clone.check(), true, "-- allowed: a/v1/a.proto: Field \"2\"");
    clone.write("proto/breaking-allowed.txt", "# Why.\nFIELD_SAME_TYPE\n");
    says(clone.check(), false, "has not the form");
    // What was landed with it is what is compared with from then on.
    clone.write("proto/breaking-allowed.txt", &format!("# No client reads it.\n{line}\n"));
    clone.commit("the break");
    clone.commit("the next");
    says(clone.check(), true, "breaking-allowed.txt:2 allows what breaks nothing any more");
}

#[test]
fn what_is_compared_with_is_the_release_then_what_the_branch_left_then_the_commit_before() {
    let clone = Clone::new(2);
    clone.git(&["tag", "v1.0.0", "HEAD^"]);
    says(clone.check(), true, "against the release v1.0.0");
    clone.git(&["tag", "v1.1.0"]);
    says(clone.check(), true, "against the release v1.0.0");
    clone.git(&["tag", "--delete", "v1.0.0", "v1.1.0"]);
    clone.git(&["switch", "--quiet", "--create", "topic"]);
    clone.write("proto/a/v1/a.proto", &BEFORE.replace("  int32 depth = 2;\n", ""));
    clone.commit("takes a field away");
    clone.commit("and one more");
    // The commit before has it already; what the branch left has not.
    says(clone.check(), false, "Previously present field \"2\"");
    says(clone.check_with(Some("HEAD^")), true, "as TIDEGATE_PROTO_BASE says");
    says(clone.check_with(Some("nowhere")), false, "TIDEGATE_PROTO_BASE=nowhere is no commit that is here");
}

#[test]
fn without_an_earlier_commit_it_says_so_and_passes() {
    says(Clone::new(0).check(), true, "skipped: nothing was committed yet");
    says(Clone::new(1).check(), true, "skipped: this is the first commit");
    let clone = Clone::new(3);
    let shallow = Clone { folder: tempfile::tempdir().unwrap() };
    let from = format!("file://{}", clone.root().display());
    shallow.git(&["clone", "--quiet", "--depth=1", &from, "."]);
    says(shallow.check(), true, "skipped: the clone is shallow");
    shallow.git(&["fetch", "--quiet", "--deepen=1"]);
    says(shallow.check(), true, "against the commit before");
    std::fs::remove_dir_all(shallow.root().join(".git")).unwrap();
    says(shallow.check(), true, "skipped: this is no clone");
}

//! `tidegate dev --demo`: its totals are those of find, wc and sha256sum, and a killed worker loses nothing.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;
use tidegate_integration_tests::{Process, Suite, program};

const DEADLINE: Duration = Duration::from_secs(240);

/// The rule of the demo, as `find` says it.
const FIND: &str =
    r"-type d \( -name .git -o -name target -o -name node_modules -o -name .venv \) -prune -o -type f";

fn demo(root: &Path, extra: &[&str]) -> Process {
    let args = ["dev", "--port", "0", "--ephemeral", "--demo", root.to_str().unwrap()];
    Process::start(&program("tidegate"), args.iter().chain(extra), [])
}

fn shell(root: &Path, script: &str) -> String {
    let out =
        Command::new("bash").args(["-c", script]).current_dir(root).env("LC_ALL", "C").output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// The inventory as the flow returned it, by the command line.
async fn inventory(suite: &Suite) -> Value {
    let ls = ["run", "ls", "-o", "json", "--filter", "name = \"inventory\"", "--address", suite.address()];
    let runs: Value = serde_json::from_str(&tidegate(&ls).await).unwrap();
    let id = runs[0]["id"].as_str().expect("the demo's flow").to_owned();
    let run: Value = serde_json::from_str(
        &tidegate(&["run", "get", &id, "-o", "json", "--address", suite.address()]).await,
    )
    .unwrap();
    assert_eq!(run["state"]["type"], "COMPLETED");
    run["result"].clone()
}

async fn tidegate(args: &[&str]) -> String {
    let ended = Process::start(&program("tidegate"), args, []).ended(Duration::from_secs(30)).await;
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    ended.stdout
}

/// Compares the demo's report on `root` with what the usual tools say.
async fn totals_agree(root: &Path) {
    let process = demo(root, &[]);
    let suite = Suite::of_demo(process, DEADLINE).await;
    let inventory = inventory(&suite).await;
    let number = |text: String| text.parse::<u64>().unwrap();
    let totals = &inventory["totals"];
    assert_eq!(totals["files"], number(shell(root, &format!("find . {FIND} -print | wc -l"))));
    assert_eq!(totals["unreadable"], 0);
    assert_eq!(
        totals["bytes"],
        number(shell(root, &format!("find . {FIND} -print0 | xargs -0 cat | wc -c")))
    );
    assert_eq!(
        totals["lines"],
        number(shell(root, &format!("find . {FIND} -print0 | xargs -0 cat | wc -l")))
    );
    let mut listing = String::new();
    for folder in inventory["folders"].as_array().unwrap() {
        let name = folder["folder"].as_str().unwrap();
        let files = if name == "." {
            "find . -maxdepth 1 -type f -printf '%P\\0'".to_owned()
        } else {
            format!("find '{name}' {FIND} -print0")
        };
        let sum = shell(root, &format!("{files} | sort -z | xargs -0 -r sha256sum | sha256sum"));
        let sum = sum.split(' ').next().unwrap();
        assert_eq!(folder["fingerprint"], sum, "{name}");
        listing.push_str(&format!("{sum}  {name}\n"));
    }
    let sum = shell(root, &format!("printf '%s' '{listing}' | sha256sum"));
    assert_eq!(inventory["fingerprint"], sum.split(' ').next().unwrap());
    suite.stop().await;
}

#[tokio::test]
async fn the_totals_are_right_for_this_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    totals_agree(root).await;
}

#[tokio::test]
async fn the_totals_are_right_for_a_tree_of_odd_files() {
    let root = tempfile::tempdir().unwrap();
    make_tree(root.path(), 40, 20);
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("odd names/déjà vu")).unwrap();
    std::fs::write(at("odd names/déjà vu/a file.txt"), "no newline at the end").unwrap();
    std::fs::write(at("empty"), "").unwrap();
    std::fs::write(at("binary"), (0..=255_u8).cycle().take(300_000).collect::<Vec<_>>()).unwrap();
    std::fs::create_dir_all(at("no files/here")).unwrap();
    std::fs::create_dir_all(at("folder-0/target")).unwrap();
    std::fs::write(at("folder-0/target/skipped"), "skipped").unwrap();
    std::os::unix::fs::symlink(at("empty"), at("folder-0/link")).unwrap();
    totals_agree(root.path()).await;
}

#[tokio::test]
async fn a_killed_worker_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    make_tree(root.path(), 12, 100);
    let ended = demo(root.path(), &["--exit"]).ended(DEADLINE).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("listening on http://127.0.0.1:"), "{}", lines[0]);
    let has = |text: &str| assert!(ended.stdout.contains(text), "`{text}` is not in:\n{}", ended.stdout);
    has("killed with SIGKILL");
    has("CRASHED");
    has("delivered again");
    has("1,200 of 1,200 files");
    assert!(!ended.stdout.contains('\u{1b}'), "plain lines without a terminal");
}

#[tokio::test]
async fn an_empty_folder_is_an_inventory_too() {
    let root = tempfile::tempdir().unwrap();
    let ended = demo(root.path(), &["--exit"]).ended(DEADLINE).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_a_clear_sentence() {
    let ended = demo(Path::new("/no/such/folder"), &["--exit"]).ended(DEADLINE).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("/no/such/folder"), "{}", ended.stderr);
}

/// `n_folders` folders of `n_files` small text files, some a level deeper.
fn make_tree(root: &Path, n_folders: usize, n_files: usize) {
    for folder in 0..n_folders {
        for file in 0..n_files {
            let path = root
                .join(format!("folder-{folder}/{}file-{file}.txt", if file % 3 == 0 { "deep/" } else { "" }));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("file {file} of folder {folder}\n").repeat(file % 17)).unwrap();
        }
    }
}

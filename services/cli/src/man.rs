//! `tidegate man DIR`: a man page for each command.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _};

use crate::{
    args::Cli,
    ask::{DONE, code},
    fault::Fault,
};

#[derive(Args, Debug)]
#[command(
    after_help = "Read one with `man -l DIR/tidegate-run.1`.\nExit codes: 0 done; 1 error; 2 wrong usage."
)]
pub struct ManArgs {
    /// Where the pages are written; made where it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Writes the pages.
pub fn main(args: ManArgs) -> ExitCode {
    code(write(&args.folder).and(DONE))
}

fn write(folder: &Path) -> Result<(), Fault> {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written
        .map_err(|error| Fault::stopped(format!("cannot write man pages to {}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(command: &clap::Command, name: &str, found: &mut Vec<String>) {
        found.push(format!("{name}.1"));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            pages(sub, &format!("{name}-{}", sub.get_name()), found);
        }
    }

    #[test]
    fn every_command_has_a_page_that_says_what_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("pages are written");
        let mut expected = Vec::new();
        pages(&Cli::command(), "tidegate", &mut expected);
        expected.sort();
        let mut found: Vec<String> = std::fs::read_dir(folder.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        assert_eq!(found, expected);
        for name in found {
            let page = std::fs::read_to_string(folder.path().join(&name)).expect("a page");
            let about = page.split_once(" \\- ").map(|(_, rest)| rest.lines().next().unwrap_or_default());
            assert!(
                about.is_some_and(|about| !about.is_empty()),
                "{name} does not say what the command does"
            );
        }
    }
}

//! Asking whether something is meant.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::fault::Fault;

/// Asks on a terminal whether so much is to be done, such as `cancel 7 runs`; elsewhere nobody would answer.
pub fn is_confirmed(what: &str) -> Result<bool, Fault> {
    if !std::io::stdin().is_terminal() {
        return Err(Fault::usage(format!(
            "would {what}, and nobody is there to confirm it: say --yes, or --dry-run to only count"
        )));
    }
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

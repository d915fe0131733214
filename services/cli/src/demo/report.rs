use std::fmt::Write as _;

use super::{
    facts::{Inventory, Totals},
    path::PathText,
    progress::{Progress, grouped},
};
use crate::output::{Table, duration_text, printable};

/// The demo's report: what the files hold, and how the work went.
pub fn report(root: &PathText, inventory: &Inventory, progress: &Progress) -> String {
    let mut table = Table::new(&["FOLDER", "FILES", "BYTES", "LINES", "SHA-256 OF ITS SHA256SUM LISTING"]);
    for folder in &inventory.folders {
        table.row(row(&printable(&folder.folder.to_string()), &folder.totals, &folder.fingerprint));
    }
    table.row(row("total", &inventory.totals, &inventory.fingerprint));
    let totals = &inventory.totals;
    let mut text = format!("inventory of {}\n{}", printable(&root.to_string()), table.text());
    if totals.unreadable > 0 {
        let _ = writeln!(text, "not readable: {} files", grouped(totals.unreadable)); // cannot fail, as below
    }
    let words: Vec<_> =
        totals.words.iter().take(8).map(|(word, n)| format!("{word} {}", grouped(*n))).collect();
    let _ = writeln!(text, "most frequent words: {}", words.join(", "));
    let largest: Vec<_> = totals
        .largest
        .iter()
        .map(|(path, n)| format!("{} {}", printable(&path.to_string()), grouped(*n)))
        .collect();
    let _ = writeln!(text, "largest files: {}", largest.join(", "));
    let (n_done, took, rate) =
        (grouped(progress.n_done as u64), duration_text(progress.files_took), progress.rate());
    let _ = writeln!(text, "{n_done} tasks in {took}: {rate:.0} tasks/s");
    text
}

fn row(name: &str, totals: &Totals, fingerprint: &str) -> Vec<String> {
    vec![
        name.to_owned(),
        grouped(totals.files),
        grouped(totals.bytes),
        grouped(totals.lines),
        fingerprint.to_owned(),
    ]
}

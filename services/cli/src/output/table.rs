use std::fmt::Write as _;

use jiff::Timestamp;
use tidegate_proto::v1::{CountPrecision, CountRunsResponse, Run};

use super::text::{kind_word, printable, run_duration_text, state_text, time_text};

/// Rows under a head, each column as wide as its widest cell.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row of as many cells as the head has.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The table's lines, each with its newline.
    pub fn text(&self) -> String {
        let n_columns = self.rows[0].len();
        let widths: Vec<usize> = (0..n_columns)
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}   "); // writing to a String cannot fail
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `run ls`.
pub fn run_table(runs: &[Run], now: Timestamp) -> String {
    let mut table = Table::new(&["ID", "KIND", "NAME", "STATE", "ATTEMPT", "CREATED", "DURATION"]);
    for run in runs {
        table.row(vec![
            run.id.clone(),
            kind_word(run.kind()).to_owned(),
            printable(&run.name),
            state_text(run.state.as_ref()),
            run.attempt.to_string(),
            time_text(run.created_at),
            run_duration_text(run, now),
        ]);
    }
    table.text()
}

/// `run count`: the number alone where it is exact.
pub fn count_text(counted: &CountRunsResponse) -> String {
    let count = counted.count;
    match counted.precision() {
        CountPrecision::Exact => format!("{count}\n"),
        CountPrecision::AtLeast => format!("at least {count}\n"),
        CountPrecision::Estimated | CountPrecision::Unspecified => format!("about {count}\n"),
    }
}

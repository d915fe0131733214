//! The text of a file, and what is wrong with it: where, in its own words.

use std::{cell::RefCell, collections::BTreeSet, fmt::Write as _, ops::Range};

use crate::output::printable;

/// Faults that are told; of further ones, how many.
const MAX_SHOWN: usize = 50;
/// Characters of a line that are shown.
const MAX_LINE: usize = 160;

/// A file as it was read.
pub struct Source {
    /// Its name, as people have given it.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// What is wrong, gathered so that all of it is told at once; by place, and each fault once.
#[derive(Default)]
pub struct Faults(RefCell<BTreeSet<(usize, usize, String)>>);

impl Faults {
    /// Notes a fault.
    pub fn add(&self, at: Range<usize>, message: impl Into<String>) {
        self.0.borrow_mut().insert((at.start, at.end, message.into()));
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Source {
    /// All faults, each with file, line, column, the line itself and a mark below it.
    pub fn describe(&self, faults: &Faults) -> String {
        let faults = faults.0.borrow();
        let mut text = String::new();
        for (start, end, message) in faults.iter().take(MAX_SHOWN) {
            self.describe_one(*start..*end, message, &mut text);
        }
        if faults.len() > MAX_SHOWN {
            let _ = writeln!(text, "and {} faults more", faults.len() - MAX_SHOWN);
        }
        text.trim_end().to_owned()
    }

    /// The line of a byte, the first being 1.
    pub fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }

    fn describe_one(&self, at: Range<usize>, message: &str, out: &mut String) {
        let start = self.text.floor_char_boundary(at.start.min(self.text.len()));
        let end = self.text.floor_char_boundary(at.end.clamp(start, self.text.len()));
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let number = self.line(start);
        let column = self.text[line_start..start].chars().count();
        let marked = self.text[start..end].lines().next().unwrap_or_default().trim_end().chars().count();

        // A tab is a space here, so that the mark stands where it should.
        let shown: String =
            line.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let marks = "^".repeat(marked.min(shown.chars().count().saturating_sub(column)).max(1));
        let gutter = " ".repeat(number.to_string().len());
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}:{number}:{}: {}", self.name, column + 1, printable(message));
        let _ = writeln!(out, " {number} | {}", printable(&shown));
        if column < MAX_LINE {
            let _ = writeln!(out, " {gutter} | {}{marks}", " ".repeat(column));
        }
    }
}

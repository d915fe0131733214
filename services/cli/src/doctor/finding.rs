use serde_json::{Value, json};

use crate::output::{Table, printable};

/// What was found of one thing.
#[derive(Debug)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub told: String,
    /// What to do; empty where nothing is to be done.
    pub mend: String,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and not as it should.
    Warning,
    /// It does not work.
    Failed,
}

impl Verdict {
    /// As people read it, and programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    /// Nothing is to be done.
    pub fn ok(check: impl Into<String>, told: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, told: told.into(), mend: String::new() }
    }

    /// It works, and `mend` makes it better.
    pub fn warning(check: impl Into<String>, told: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Warning, told: told.into(), mend: mend.into() }
    }

    /// It does not work until `mend` is done.
    pub fn failed(check: impl Into<String>, told: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Failed, told: told.into(), mend: mend.into() }
    }
}

/// Findings for people.
pub fn findings_text(findings: &[Finding]) -> String {
    let mut table = Table::new(&["", "CHECK", "FOUND", "MEND"]);
    for finding in findings {
        let cells = [finding.verdict.word(), &finding.check, &finding.told, &finding.mend];
        table.row(cells.map(printable).to_vec());
    }
    table.text()
}

/// A finding for programs.
pub fn finding_json(finding: &Finding) -> Value {
    json!({
        "name": finding.check,
        "status": finding.verdict.word(),
        "message": finding.told,
        "mend": finding.mend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_with_what_to_do() {
        let findings = [
            Finding::ok("address", "http://127.0.0.1:4400 takes connections"),
            Finding::warning("clock", "1 m 05 s apart", "set both clocks by NTP"),
            Finding::failed("api > store", "the store does not answer", "check that postgres runs"),
        ];
        insta::assert_snapshot!(findings_text(&findings));
        insta::assert_json_snapshot!(findings.iter().map(finding_json).collect::<Vec<_>>());
    }
}

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use jiff::Timestamp;
use tidegate_proto::v1::{Run, StateType};

use super::text::{printable, run_duration_text, state_text, state_word};

/// More siblings of one name than this are shown as one line with counts.
const MAX_SIBLINGS: usize = 8;

/// A run with the runs below it.
#[derive(Debug)]
pub struct RunTree {
    /// The run.
    pub run: Run,
    /// The runs that it started, oldest first.
    pub children: Vec<RunTree>,
}

impl RunTree {
    /// The tree below the run `id`, from `runs` in any order. `None` where `id` is not among them.
    pub fn of(id: &str, runs: Vec<Run>) -> Option<Self> {
        let mut by_parent: HashMap<String, Vec<Run>> = HashMap::new();
        let mut top = None;
        for run in runs {
            if run.id == id {
                top = Some(run);
            } else {
                by_parent.entry(run.parent_run_id.clone()).or_default().push(run);
            }
        }
        Some(Self::below(top?, &mut by_parent))
    }

    /// Recursion: a tree has at most `max_tree_depth` (1,000) levels.
    fn below(run: Run, by_parent: &mut HashMap<String, Vec<Run>>) -> Self {
        let mut children = by_parent.remove(&run.id).unwrap_or_default();
        children.sort_by(|a, b| a.id.cmp(&b.id)); // a UUIDv7 is ordered by time
        let children = children.into_iter().map(|child| Self::below(child, by_parent)).collect();
        Self { run, children }
    }
}

/// `run tree`. Without `all`, many siblings of one name that have nothing below them are one line with counts.
pub fn tree_text(tree: &RunTree, all: bool, now: Timestamp) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", run_line(&tree.run, now)); // writing to a String cannot fail
    children_text(tree, all, now, "", &mut text);
    text
}

/// What stands on one line below a run.
enum Line<'a> {
    Run(&'a RunTree),
    Fold(Vec<&'a RunTree>),
}

fn children_text(tree: &RunTree, all: bool, now: Timestamp, indent: &str, text: &mut String) {
    let mut leaves: HashMap<&str, Vec<&RunTree>> = HashMap::new();
    for child in tree.children.iter().filter(|child| child.children.is_empty()) {
        leaves.entry(&child.run.name).or_default().push(child);
    }
    let mut lines = Vec::new();
    for child in &tree.children {
        let folds = !all
            && child.children.is_empty()
            && leaves.get(child.run.name.as_str()).is_none_or(|siblings| siblings.len() > MAX_SIBLINGS);
        if !folds {
            lines.push(Line::Run(child));
        } else if let Some(siblings) = leaves.remove(child.run.name.as_str()) {
            lines.push(Line::Fold(siblings)); // where the first of them would stand
        }
    }
    let n_lines = lines.len();
    for (idx, line) in lines.into_iter().enumerate() {
        let (branch, below) = if idx + 1 == n_lines { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        match line {
            Line::Run(child) => {
                let _ = writeln!(text, "{indent}{branch}{}", run_line(&child.run, now));
                children_text(child, all, now, &format!("{indent}{below}"), text);
            }
            Line::Fold(siblings) => {
                let _ = writeln!(text, "{indent}{branch}{}", fold_line(&siblings));
            }
        }
    }
}

fn run_line(run: &Run, now: Timestamp) -> String {
    let name = printable(&run.name);
    // A name of the run's own says more than one that the server made of the id.
    let own = if run.run_name.is_empty()
        || run.run_name.starts_with(&run.name) && run.id.ends_with(tail(&run.run_name))
    {
        String::new()
    } else {
        format!(" ({})", printable(&run.run_name))
    };
    let attempts = if run.attempt > 1 { format!("  attempt {}", run.attempt) } else { String::new() };
    let state = state_text(run.state.as_ref());
    format!("{name}{own}  {state}  {}{attempts}  {}", run_duration_text(run, now), run.id)
}

/// What follows the last separator of a run's name.
fn tail(run_name: &str) -> &str {
    run_name.rsplit(['-', ' ', '/', '_']).next().unwrap_or(run_name)
}

fn fold_line(siblings: &[&RunTree]) -> String {
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for sibling in siblings {
        *counts.entry(sibling.run.state.as_ref().map_or(0, |state| state.r#type)).or_default() += 1;
    }
    let word = |state: i32| state_word(StateType::try_from(state).unwrap_or_default());
    let states: Vec<_> = counts.iter().map(|(&state, n)| format!("{n} {}", word(state))).collect();
    let n_again = siblings.iter().filter(|sibling| sibling.run.crashes > 0).count();
    let again =
        if n_again > 0 { format!("; {n_again} delivered again after a crash") } else { String::new() };
    format!("{} × {}: {}{again}", printable(&siblings[0].run.name), siblings.len(), states.join(", "))
}

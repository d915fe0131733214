//! The state diagram in ARCHITECTURE.md is drawn from the table that the rules are held to.
//!
//! `TIDEGATE_UPDATE=1 cargo test --workspace --test diagram` writes it anew.

mod common;

use std::{collections::BTreeMap, fmt::Write as _, fs};

use common::table::{Row, TABLE, VARIANTS};
use tidegate_orchestration::StateType;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md");
const BEGIN: &str = "<!-- states: drawn by libs/orchestration/tests/diagram.rs -->\n";
const END: &str = "<!-- end of states -->\n";

/// The arrows with their labels, from state to state; `None` is the run that is not there yet.
type Arrows = BTreeMap<(Option<StateType>, StateType), Vec<String>>;

#[test]
fn the_diagram_in_the_docs_is_that_of_the_table() {
    let document = fs::read_to_string(PATH).expect("ARCHITECTURE.md is there");
    let (before, rest) = document.split_once(BEGIN).expect("it has the begin of the diagram");
    let (shown, after) = rest.split_once(END).expect("it has the end of the diagram");
    let drawn = draw(&arrows());
    if std::env::var_os("TIDEGATE_UPDATE").is_some() {
        fs::write(PATH, format!("{before}{BEGIN}{drawn}{END}{after}")).expect("it can be written");
    } else {
        assert_eq!(shown, drawn, "run this test with TIDEGATE_UPDATE=1 to draw it anew");
    }
}

fn arrows() -> Arrows {
    let mut arrows = Arrows::new();
    let mut add = |(from, to), label: String, when: Option<&str>| {
        let labels = arrows.entry((from, to)).or_default();
        let conditional = when.map(|when| format!("{label} if {when}"));
        // What happens on a condition as without it needs no second word.
        if !labels.contains(&label) && conditional.as_ref().is_none_or(|label| !labels.contains(label)) {
            labels.push(conditional.unwrap_or(label));
        }
    };
    add((None, StateType::Scheduled), "created for a queue".to_owned(), None);
    add((None, StateType::Pending), "created for a session".to_owned(), None);
    let rows = TABLE.iter().map(|row| (row, None));
    let conditional =
        VARIANTS.iter().flat_map(|variant| variant.rows.iter().map(|row| (row, Some(variant.when))));
    for (row, when) in rows.chain(conditional) {
        for outcome in [row.queued, row.local].into_iter().filter(|outcome| !["no", "same"].contains(outcome))
        {
            let mut from = state_type(row);
            for (idx, entered) in outcome.split(' ').enumerate() {
                let (to, name) = entered.split_once('/').expect("is a type and a name");
                let to: StateType = to.parse().expect("is a state");
                let event = if idx == 0 { row.event } else { "at once" };
                add((Some(from), to), label(event, to, name), when);
                from = to;
            }
        }
    }
    arrows
}

fn state_type(row: &Row) -> StateType {
    let first = row.state.split(' ').next().expect("is not empty");
    first.parse().expect("begins with a state")
}

/// The event, and the state's name where it says more than its type. The second state of a row is entered at once
/// after the first.
fn label(event: &str, to: StateType, name: &str) -> String {
    if name.eq_ignore_ascii_case(to.as_str()) { event.to_owned() } else { format!("{event} ({name})") }
}

fn draw(arrows: &Arrows) -> String {
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    for ((from, to), labels) in arrows {
        let from = from.map_or("[*]", StateType::as_str);
        let _ = writeln!(text, "    {from} --> {to}: {}", labels.join(" | "));
    }
    for state in StateType::ALL.iter().filter(|state| state.is_terminal()) {
        let _ = writeln!(text, "    {state} --> [*]");
    }
    text + "```\n"
}

//! What a file says, what is wrong with it, and what it changes: as people see it.

use std::path::Path;

use serde_json::json;
use tidegate_proto::v1::{
    CatchUpPolicy, Deployment, ParentPolicy, Schedule, schedule_spec::Timetable, source,
};

use super::{
    TEMPLATE, broken_off, file,
    plan::{Change, Plan},
    source::Source,
    spec::Wanted,
    view,
};

fn read(text: &str) -> Result<Vec<Wanted>, String> {
    let source = Source { name: "tidegate.toml".to_owned(), text: text.to_owned() };
    file::read(&source, Path::new("."))
}

fn right(text: &str) -> Vec<Wanted> {
    read(text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn wrong(text: &str) -> String {
    read(text).expect_err("the file is wrong")
}

/// A file that is wrong, and what is told about it.
fn told(text: String) -> String {
    format!("--- the file:\n{}\n--- is told:\n{}\n", text.trim(), wrong(&text))
}

/// One deployment with some lines of its own.
fn deployment(lines: &str) -> String {
    format!("[[deployment]]\nflow = \"etl\"\nname = \"nightly\"\n{lines}\n")
}

fn schedule(lines: &str) -> String {
    deployment(&format!("[[deployment.schedule]]\n{lines}"))
}

/// What the server has, once it was brought to what the file says.
fn applied(wanted: &Wanted) -> (Deployment, Vec<Schedule>) {
    let schedules = wanted.schedules.iter().map(|schedule| Schedule {
        name: schedule.name.clone(),
        spec: Some(schedule.spec.clone()),
        ..Default::default()
    });
    let deployment = Deployment {
        name: wanted.name.clone(),
        spec: Some(wanted.spec.clone()),
        version: 4,
        ..Default::default()
    };
    (deployment, schedules.collect())
}

#[test]
fn the_template_is_right_and_says_what_its_comments_say() {
    let wanted = right(TEMPLATE);
    let names: Vec<&str> = wanted.iter().map(|deployment| deployment.name.as_str()).collect();
    assert_eq!(names, ["etl/nightly", "report/weekly"]);
    let (nightly, weekly) = (&wanted[0].spec, &wanted[1].spec);
    assert_eq!(
        (nightly.tags.as_slice(), nightly.max_concurrent_runs),
        (["etl".to_owned()].as_slice(), Some(1))
    );
    let policies = nightly.policies.as_ref().expect("are merged");
    assert_eq!(policies.retry.as_ref().expect("is that of [defaults]").max_retries, 3);
    assert_eq!(policies.parent_on_crash(), ParentPolicy::Detach);
    let [daily, quarterly] = &wanted[0].schedules[..] else { panic!("two schedules") };
    assert_eq!((daily.name.as_str(), daily.spec.catch_up()), ("daily", CatchUpPolicy::Latest));
    let Some(Timetable::Interval(interval)) = &quarterly.spec.timetable else { panic!("an interval") };
    assert_eq!(interval.every.expect("is said").seconds, 90 * 86_400);
    assert_eq!(interval.anchor.expect("is said").to_string(), "2026-01-01T05:00:00Z");
    assert_eq!(weekly.command, ["./report.sh", "--weekly"]);
    let Some(source::Source::Git(git)) = weekly.source.clone().and_then(|source| source.source) else {
        panic!("a Git repository")
    };
    assert_eq!((git.r#ref.as_str(), weekly.job_variables.as_str()), ("main", r#"{"env":{"REGION":"eu"}}"#));
}

#[test]
fn a_deployment_says_more_than_the_defaults() {
    let text = r#"
        [defaults]
        tags = ["a"]
        labels = { team = "blue", tier = "1" }
        parameters = { day = "monday", n = 1 }
        concurrency = { limit = 3, on_collision = "skip" }
        policies = { retries = 2, run_timeout = "1h" }
        [[deployment]]
        flow = "a/etl"
        name = "one"
        tags = ["b"]
        labels.tier = "2"
        parameters.n = 2
        concurrency.limit = 5
        policies.retries = 0
        [[deployment]]
        flow = "a/etl"
        name = "two"
    "#;
    let [one, two] = &right(text)[..] else { panic!("two deployments") };
    assert_eq!((one.name.as_str(), one.spec.tags.join(" ")), ("a/etl/one", "b".to_owned()));
    assert_eq!(json!(one.spec.labels), json!({"team": "blue", "tier": "2"}));
    assert_eq!(one.spec.parameters, r#"{"day":"monday","n":2}"#);
    // What is no collection of names is replaced as a whole.
    assert_eq!((one.spec.max_concurrent_runs, one.spec.on_collision), (Some(5), 0));
    let policies = one.spec.policies.clone().expect("are said");
    assert_eq!(policies.retry.expect("is said, though it is none").max_retries, 0);
    assert_eq!(policies.run_timeout.expect("is that of [defaults]").seconds, 3_600);
    assert_eq!((two.spec.tags.join(" "), two.spec.max_concurrent_runs), ("a".to_owned(), Some(3)));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_its_mend() {
    let texts = [
        "[[deployment]\n".to_owned(),
        String::new(),
        deployment("quue = \"small\""),
        "[default]\nqueue = \"small\"\n".to_owned() + &deployment(""),
        "[[deployment]]\nname = \"nightly\"\n".to_owned(),
        deployment("") + &deployment("") + &deployment("queue = \"other\""),
        deployment("priority = \"high\"\ntags = \"etl\"\nparameters = [1]\nenforce_parameter_schema = 1"),
        deployment("priority = 101\nconcurrency = { limit = -1, on_collision = \"cancel_oldst\" }"),
        deployment(
            "policies = { run_timeout = \"soon\", cancel_grace = \"2h\", retries = 1, retry_jitter = 2 }",
        ),
        deployment("parameters = { n = \"x\" }\nparameter_schema.properties.n.type = \"integer\""),
        deployment("parameter_schema = { type = \"objekt\" }"),
        deployment("parameter_schema = \"is-not-there.json\""),
        deployment("source = { git = \"https://example.com/x.git\", image = \"x\" }"),
        "[defaults]\nname = \"x\"\nlabels = { tier = 1 }\n".to_owned() + &deployment(""),
        "deployment = 3".to_owned(),
        deployment("").replace("nightly", "night/ly"),
    ];
    insta::assert_snapshot!(texts.map(told).join("\n"));
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_where_it_is() {
    let texts = [
        schedule("cron = \"0 25 * * *\""),
        schedule("cron = \"0 3 * * *\"\ninterval = \"1h\""),
        schedule("time_zone = \"Europe/Berlin\""),
        schedule("interval = \"1 month\""),
        schedule("interval = \"10ms\""),
        schedule("rrule = \"FREQ=OFTEN\""),
        schedule("cron = \"@daily\"\ntime_zone = \"Europe/Berlinn\"\nanchor = 2026-01-01"),
        schedule("cron = \"@daily\"\nstart_at = 2026-03-01T02:00:00\ncatch_up = \"every\"\nmax_catch_up = 3"),
        schedule("cron = \"@daily\"\nstart_at = 2026-03-02T00:00:00Z\nend_at = \"2026-03-01T00:00:00Z\""),
        schedule("cron = \"@daily\"\n[[deployment.schedule]]\ncron = \"@hourly\""),
        schedule("cronn = \"@daily\"\nname = \"a b\""),
        deployment("schedule = { cron = \"@daily\" }"),
        schedule("cron = \"@daily\"\nqueue = \"a b\"\ntags = [\"\"]\ncatch_up_grace = \"8d\""),
    ];
    insta::assert_snapshot!(texts.map(told).join("\n"));
}

#[test]
fn parameters_of_a_schedule_that_its_deployment_refuses_are_told_before_anything_is_done() {
    let schema = "enforce_parameter_schema = true\nparameters = { n = 1 }\nparameter_schema = { required = [\"n\", \
                  \"day\"], properties = { n = { type = \"integer\" } } }\n";
    let with = |parameters: &str| {
        deployment(&format!("{schema}[[deployment.schedule]]\ncron = \"@daily\"\n{parameters}"))
    };
    assert_eq!(right(&with("parameters = { day = \"monday\" }"))[0].schedules.len(), 1);
    let faults = wrong(&with("parameters = { n = \"x\", day = \"monday\" }"));
    assert!(faults.contains("tidegate.toml:9:14: `parameters.n`"), "{faults}");
    let faults = wrong(&with(""));
    assert!(faults.contains("tidegate.toml:7:") && faults.contains("day"), "{faults}");
}

#[test]
fn a_failure_says_what_was_done_and_what_was_not() {
    assert_eq!(broken_off("a/b", 0, 1), "deployment `a/b`");
    assert_eq!(
        broken_off("a/b", 2, 4),
        "deployment `a/b`, 2 before it are deployed, 1 behind it are not deployed"
    );
}

#[test]
fn many_faults_are_counted_and_long_lines_are_cut() {
    let keys: String = (0..60).map(|n| format!("k{n} = 1\n")).collect();
    let faults = wrong(&deployment(&keys));
    assert_eq!(faults.matches("is no key of a deployment").count(), 50);
    assert!(faults.ends_with("and 10 faults more"), "{faults}");
    let faults = wrong(&deployment(&format!("tags = [{}1]\u{1b}[2J", "\"long\", ".repeat(1_000))));
    assert!(faults.lines().all(|line| line.chars().count() < 300), "{faults}");
    assert!(!faults.contains('\u{1b}'), "a file cannot move the cursor");
}

#[test]
fn what_changes_is_shown_field_by_field() {
    let before = r#"
        [[deployment]]
        flow = "etl"
        name = "hourly"
        queue = "small"
        tags = ["a"]
        parameters = { n = 1 }
        [[deployment.schedule]]
        name = "kept"
        cron = "0 * * * *"
        [[deployment.schedule]]
        name = "dropped"
        interval = "1h"
    "#;
    let after = r#"
        [[deployment]]
        flow = "etl"
        name = "hourly"
        queue = "large"
        parameters = { n = 2 }
        concurrency.limit = 1
        [[deployment.schedule]]
        name = "kept"
        cron = "5 * * * *"
        overlap = "skip"
        [[deployment]]
        flow = "etl"
        name = "nightly"
        entrypoint = "flows.py:etl"
        [[deployment.schedule]]
        cron = "@daily"
    "#;
    let (there, schedules) = applied(&right(before)[0]);
    let plans = |prunes| -> Vec<Plan> {
        let mut wanted = right(after).into_iter();
        let mut next = || wanted.next().expect("two deployments");
        vec![Plan::new(next(), Some(&there), &schedules, prunes), Plan::new(next(), None, &[], prunes)]
    };
    insta::assert_snapshot!(view::text(&plans(false), true));
    insta::assert_json_snapshot!(view::json(&plans(true), &["a warning".to_owned()], false));
}

#[test]
fn what_was_deployed_is_unchanged_the_second_time() {
    for wanted in right(TEMPLATE) {
        let (there, schedules) = applied(&wanted);
        let plan = Plan::new(wanted.clone(), Some(&there), &schedules, true);
        assert!(!plan.changes(), "{}", view::text(&[plan], true));
        let plan = Plan::new(wanted, None, &[], false);
        assert!(plan.changes() && plan.change == Change::New);
    }
}

#[test]
fn what_means_the_same_is_no_difference() {
    let wanted = right(&deployment("parameters = { a = 1, b = [2] }")).remove(0);
    let (mut there, _) = applied(&wanted);
    let spec = there.spec.as_mut().expect("is there");
    spec.parameters = "{ \"b\": [2],\n \"a\": 1 }".to_owned();
    spec.queue = "default".to_owned();
    spec.policies = Some(Default::default());
    assert_eq!(Plan::new(wanted, Some(&there), &[], false).change, Change::Unchanged);
}

#[test]
fn a_schema_may_be_in_a_file_beside() {
    let folder = tempfile::tempdir().expect("there is a place for it");
    std::fs::write(folder.path().join("etl.json"), r#"{"type": "object"}"#).expect("can be written");
    let text = deployment("parameter_schema = \"etl.json\"\nenforce_parameter_schema = true");
    let source = Source { name: "tidegate.toml".to_owned(), text };
    let wanted = file::read(&source, folder.path()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(wanted[0].spec.parameter_schema, r#"{"type":"object"}"#);
}

//! What is told about a schedule by options.

use clap::{Args, ValueEnum};
use prost_types::{Duration, Timestamp};
use serde_json::Value;
use tidegate_sdk_core::proto::{
    CatchUpPolicy, CronTimetable, IntervalTimetable, OverlapPolicy, RRuleTimetable, ScheduleSpec,
    schedule_spec::Timetable,
};

use crate::{
    common::{parse_span, parse_time},
    completion::named,
    deployment::{object, parameters, parse_param},
    fault::Fault,
    names,
};

/// The fields that can be taken away from a schedule: all but its timetable.
pub const OPTIONAL: [&str; 13] = [
    "time_zone",
    "start_at",
    "end_at",
    "jitter",
    "parameters",
    "catch_up",
    "max_catch_up",
    "catch_up_grace",
    "overlap",
    "tags",
    "queue",
    "job_variables",
    "description",
];

/// When a schedule fires, and what its runs are like.
#[derive(Args, Debug)]
pub struct SpecArgs {
    /// Fire by a cron expression: `0 3 * * *`, `30 0 3 * * *` with seconds before it, or `@daily`
    #[arg(long, value_name = "EXPRESSION", group = "timetable")]
    pub cron: Option<String>,
    /// With `--cron`: where day of month and day of week are both restricted, both must match, and not one of them
    #[arg(long)]
    pub day_and: bool,
    /// Fire each time after so long: `90s`, `15m`, `1d`
    #[arg(long, value_name = "SPAN", value_parser = parse_span, group = "timetable")]
    pub interval: Option<Duration>,
    /// With `--interval`: one of the times, in RFC 3339 [default: when the schedule is made]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub anchor: Option<Timestamp>,
    /// Fire by a recurrence rule of RFC 5545: `FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=7`
    #[arg(long, value_name = "RULE", group = "timetable")]
    pub rrule: Option<String>,
    /// The time zone of the times: `Europe/Berlin` [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// No time before this one fires; in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub start_at: Option<Timestamp>,
    /// No time at or after this one fires; in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub end_at: Option<Timestamp>,
    /// Each run starts up to so much after its time, always by the same part of it: `5m`
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub jitter: Option<Duration>,
    /// A parameter of its runs; goes over `--params`. A value that is no JSON is a text
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub param: Vec<(String, Value)>,
    /// Parameters of its runs as a JSON object; go over the deployment's own
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// What becomes of times that were missed while no server ran [default: skip]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub catch_up: Option<CatchUp>,
    /// With `--catch-up all`: how many runs at most, of the latest times [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_catch_up: Option<u32>,
    /// A time that is missed by no more than this is late, and not missed [default: 1m]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub catch_up_grace: Option<Duration>,
    /// What becomes of a run whose time comes while an earlier one of the schedule goes on [default: allow]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub overlap: Option<Overlap>,
    /// A word to find its runs by, beside those of the deployment; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// The queue of its runs, instead of the deployment's
    #[arg(long, add = named(names::queues))]
    pub queue: Option<String>,
    /// Job variables of its runs as a JSON object; go over the deployment's own
    #[arg(long, value_name = "JSON")]
    pub job_variables: Option<String>,
    /// What it is for
    #[arg(long)]
    pub description: Option<String>,
}

/// What becomes of times that were missed.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// They make no runs
    Skip,
    /// The latest of them makes a run
    Latest,
    /// Each makes a run
    All,
}

/// What becomes of a run whose time comes while an earlier one is held.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub enum Overlap {
    /// They run beside each other
    Allow,
    /// It is CANCELLED as `Skipped`
    Skip,
    /// It waits until the earlier one has ended
    Queue,
    /// The earlier one is cancelled, and it starts when that has ended
    #[value(alias = "cancel-running")]
    CancelRunning,
}

impl SpecArgs {
    /// What is said, and the fields that it is said of.
    pub fn told(self) -> Result<(ScheduleSpec, Vec<&'static str>), Fault> {
        let says_parameters = self.params.is_some() || !self.param.is_empty();
        let parameters = if says_parameters {
            parameters(self.params.as_deref(), &self.param)?.to_string()
        } else {
            String::new()
        };
        let job_variables = match &self.job_variables {
            Some(text) => Value::Object(object("--job-variables", text)?).to_string(),
            None => String::new(),
        };
        if self.max_catch_up.is_some() && self.catch_up.is_some_and(|policy| policy != CatchUp::All) {
            return Err(Fault::usage("--max-catch-up goes with `--catch-up all`: say that, or leave it out"));
        }
        // What an option requires is not looked for where that is in conflict with another one.
        if self.day_and && self.cron.is_none() {
            return Err(Fault::usage("--day-and goes with --cron: say that, or leave it out"));
        }
        if self.anchor.is_some() && self.interval.is_none() {
            return Err(Fault::usage("--anchor goes with --interval: say that, or leave it out"));
        }
        let fields = [
            ("cron", self.cron.is_some()),
            ("interval", self.interval.is_some()),
            ("rrule", self.rrule.is_some()),
            ("time_zone", self.time_zone.is_some()),
            ("start_at", self.start_at.is_some()),
            ("end_at", self.end_at.is_some()),
            ("jitter", self.jitter.is_some()),
            ("parameters", says_parameters),
            ("catch_up", self.catch_up.is_some()),
            ("max_catch_up", self.max_catch_up.is_some()),
            ("catch_up_grace", self.catch_up_grace.is_some()),
            ("overlap", self.overlap.is_some()),
            ("tags", !self.tags.is_empty()),
            ("queue", self.queue.is_some()),
            ("job_variables", self.job_variables.is_some()),
            ("description", self.description.is_some()),
        ];
        let said = fields.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| field).collect();
        let cron =
            self.cron.map(|expression| Timetable::Cron(CronTimetable { expression, day_and: self.day_and }));
        let interval = self
            .interval
            .map(|every| Timetable::Interval(IntervalTimetable { every: Some(every), anchor: self.anchor }));
        let rrule = self.rrule.map(|rule| Timetable::Rrule(RRuleTimetable { rule }));
        let spec = ScheduleSpec {
            timetable: cron.or(interval).or(rrule),
            time_zone: self.time_zone.unwrap_or_default(),
            start_at: self.start_at,
            end_at: self.end_at,
            jitter: self.jitter,
            parameters,
            catch_up: self.catch_up.map_or(0, |policy| CatchUpPolicy::from(policy).into()),
            max_catch_up: self.max_catch_up.unwrap_or_default(),
            catch_up_grace: self.catch_up_grace,
            overlap: self.overlap.map_or(0, |policy| OverlapPolicy::from(policy).into()),
            tags: self.tags,
            queue: self.queue.unwrap_or_default(),
            job_variables,
            description: self.description.unwrap_or_default(),
        };
        Ok((spec, said))
    }
}

impl From<CatchUp> for CatchUpPolicy {
    fn from(policy: CatchUp) -> Self {
        match policy {
            CatchUp::Skip => Self::Skip,
            CatchUp::Latest => Self::Latest,
            CatchUp::All => Self::All,
        }
    }
}

impl From<Overlap> for OverlapPolicy {
    fn from(policy: Overlap) -> Self {
        match policy {
            Overlap::Allow => Self::Allow,
            Overlap::Skip => Self::Skip,
            Overlap::Queue => Self::Queue,
            Overlap::CancelRunning => Self::CancelRunning,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::{args::Cli, deploy::of_schedule};

    #[derive(clap::Parser, Debug)]
    struct Line {
        #[command(flatten)]
        spec: SpecArgs,
    }

    fn told(args: &[&str]) -> Result<(ScheduleSpec, Vec<&'static str>), Fault> {
        Line::try_parse_from([&["line"], args].concat()).expect("are options").spec.told()
    }

    #[test]
    fn each_option_is_a_field_of_the_schedule() {
        let (spec, fields) = told(&[
            "--cron=0 3 1 * MON",
            "--day-and",
            "--time-zone=Europe/Berlin",
            "--start-at=2026-01-01T00:00:00Z",
            "--end-at=2027-01-01T00:00:00+01:00",
            "--jitter=5m",
            "--params={\"n\": 1, \"day\": \"x\"}",
            "-pday=monday",
            "--catch-up=all",
            "--max-catch-up=7",
            "--catch-up-grace=1d 2h",
            "--overlap=cancel_running",
            "--tag=a",
            "--tag=b",
            "--queue=night",
            "--job-variables={\"cpu\": 2}",
            "--description=why",
        ])
        .expect("is right");
        assert_eq!(
            json!(of_schedule(&spec)),
            json!({
                "cron": "0 3 1 * MON",
                "day_and": true,
                "time_zone": "Europe/Berlin",
                "start_at": "2026-01-01T00:00:00Z",
                "end_at": "2026-12-31T23:00:00Z",
                "jitter": "300s",
                "parameters": { "n": 1, "day": "monday" },
                "catch_up": "all",
                "max_catch_up": 7,
                "catch_up_grace": "93600s",
                "overlap": "cancel_running",
                "tags": ["a", "b"],
                "queue": "night",
                "job_variables": { "cpu": 2 },
                "description": "why",
            })
        );
        assert!(OPTIONAL.iter().all(|field| fields.contains(field)), "{fields:?}");
        let (spec, fields) =
            told(&["--interval", "90s", "--anchor", "2026-01-01T00:00:00Z"]).expect("is right");
        assert_eq!(fields, ["interval"]);
        assert_eq!(of_schedule(&spec)["anchor"], "2026-01-01T00:00:00Z");
        assert_eq!(told(&["--rrule", "FREQ=DAILY"]).expect("is right").1, ["rrule"]);
        assert_eq!(told(&[]).expect("is right"), (ScheduleSpec::default(), Vec::new()));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (args, told) in [
            (&["--cron", "@daily", "--interval", "1d"][..], "cannot be used with"),
            (&["--interval", "1 month"], "write it as \"90s\""),
            (&["--start-at", "tomorrow"], "RFC 3339"),
            (&["--overlap", "cancel"], "cancel_running"),
            (&["-p", "n"], "`n=1`"),
        ] {
            let line = [&["tidegate", "schedule", "create", "etl/nightly"], args].concat();
            let error = Cli::try_parse_from(line).expect_err("is wrong").to_string();
            assert!(error.contains(told), "{args:?}: {error}");
        }
        for (args, said) in [
            (&["--params", "[1]"][..], "--params is no JSON object"),
            (&["--job-variables", "{"], "--job-variables is no JSON"),
            (&["--anchor", "2026-01-01T00:00:00Z", "--cron", "@daily"], "--anchor goes with --interval"),
            (&["--day-and", "--interval", "1d"], "--day-and goes with --cron"),
            (&["--catch-up", "skip", "--max-catch-up", "3"], "--catch-up all"),
        ] {
            let error = told(args).expect_err("is wrong").to_string();
            assert!(error.contains(said), "{args:?}: {error}");
        }
    }
}

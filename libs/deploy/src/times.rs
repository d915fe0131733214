//! The times of a specification, by the rules of `tidegate-schedule`.

use std::time::Duration;

use tidegate_engine::{EngineError, Fire, Fires};
use tidegate_model::{ScheduleId, Timestamp};
use tidegate_proto::v1::{self, CatchUpPolicy, schedule_spec::Timetable};
use tidegate_schedule::{CatchUp, Missed, Rule, Schedule};
use tidegate_wire::{Violations, duration_from_proto, timestamp_from_proto};

/// How late a time may be that is not missed, where nothing is said.
const GRACE: Duration = Duration::from_secs(60);
/// How late a time may be in any case: it is always a little over when the scheduler looks.
const MIN_GRACE: Duration = Duration::from_secs(10);
/// How many runs are made for missed times, where nothing is said.
const MAX_CATCH_UP: usize = 100;

/// When a schedule fires, and what becomes of times that it has missed.
#[derive(Debug)]
pub struct Times {
    rules: Schedule,
    catch_up: CatchUp,
    /// Tells its jitter from that of others.
    id: String,
}

impl Times {
    /// Those of a specification, for a schedule that was made then.
    ///
    /// # Errors
    /// `InvalidFields`, by their paths below `spec`.
    pub fn of(spec: &v1::ScheduleSpec, id: ScheduleId, created_at: Timestamp) -> Result<Self, EngineError> {
        let mut violations = Violations::below("spec.");
        match read(spec, created_at, &mut violations) {
            Some(rules) if violations.is_empty() => {
                Ok(Self { rules, catch_up: catch_up(spec), id: id.to_string() })
            }
            _ => Err(EngineError::InvalidFields { violations: violations.into_vec() }),
        }
    }

    /// Notes what is wrong with the times of a specification.
    pub fn check(spec: &v1::ScheduleSpec, violations: &mut Violations) {
        read(spec, Timestamp::UNIX_EPOCH, violations);
    }

    /// The first time after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Fire> {
        self.rules.next_after(after).map(|at| self.fire(at))
    }

    /// The next `count` times after `after`, or fewer where there are no more.
    pub fn next(&self, after: Timestamp, count: usize) -> Vec<Fire> {
        let from = after + Duration::from_micros(1);
        self.rules.from(from).take(count).map(|at| self.fire(at)).collect()
    }

    /// The times from `from` until before `to`: at most `limit`.
    pub fn between(&self, from: Timestamp, to: Timestamp, limit: usize) -> Vec<Fire> {
        self.rules.between(from, to, limit).into_iter().map(|at| self.fire(at)).collect()
    }

    /// What there is to do at `now`, where `planned` is the first time that is not done with.
    pub fn come(&self, planned: Timestamp, now: Timestamp, most: usize) -> Fires {
        let plan = self.rules.plan(planned, now, self.catch_up, most);
        Fires {
            now: plan.fires.into_iter().map(|at| self.fire(at)).collect(),
            n_missed: plan.n_missed,
            next_fire_at: plan.next,
        }
    }

    fn fire(&self, at: Timestamp) -> Fire {
        let fire = self.rules.fire(&self.id, at);
        Fire { fire_at: fire.at, due_at: fire.due_at }
    }
}

fn catch_up(spec: &v1::ScheduleSpec) -> CatchUp {
    let missed = match spec.catch_up() {
        CatchUpPolicy::Unspecified | CatchUpPolicy::Skip => Missed::Skip,
        CatchUpPolicy::Latest => Missed::Latest,
        CatchUpPolicy::All => Missed::All(match usize::try_from(spec.max_catch_up) {
            Ok(0) | Err(_) => MAX_CATCH_UP,
            Ok(most) => most,
        }),
    };
    let grace = spec.catch_up_grace.as_ref().and_then(duration_from_proto).unwrap_or(GRACE);
    CatchUp { missed, grace: grace.max(MIN_GRACE) }
}

/// The rules of a specification; what is wrong is noted.
fn read(spec: &v1::ScheduleSpec, created_at: Timestamp, violations: &mut Violations) -> Option<Schedule> {
    let mut time = |field: &str, time: Option<&prost_types::Timestamp>| {
        let parsed = timestamp_from_proto(time?);
        if parsed.is_none() {
            violations.add(field, "is no time of the years 1 to 9999");
        }
        parsed
    };
    let (start_at, end_at) = (time("start_at", spec.start_at.as_ref()), time("end_at", spec.end_at.as_ref()));
    let rule = match &spec.timetable {
        None => {
            violations
                .add("cron", "is not set, nor is `interval` or `rrule`: one of them says when it fires");
            return None;
        }
        Some(Timetable::Cron(cron)) => Rule::Cron { expression: &cron.expression, day_and: cron.day_and },
        Some(Timetable::Interval(interval)) => {
            let anchor = time("interval.anchor", interval.anchor.as_ref());
            let Some(every) = interval.every.as_ref().and_then(duration_from_proto) else {
                violations.add("interval.every", "is not set, or below 0: give 1 s to 366 days");
                return None;
            };
            Rule::Interval { every, anchor }
        }
        Some(Timetable::Rrule(rrule)) => Rule::Recurrence(&rrule.rule),
    };
    let jitter = spec.jitter.as_ref().and_then(duration_from_proto).unwrap_or_default();
    let times = tidegate_schedule::Times {
        rule,
        time_zone: &spec.time_zone,
        start_at,
        end_at,
        // What is above is noted with the other fields.
        jitter: jitter.min(tidegate_schedule::MAX_JITTER),
        created_at,
    };
    match Schedule::new(&times) {
        Ok(rules) => Some(rules),
        Err(error) => {
            violations.add(error.field, error.description);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::v1::CronTimetable;

    use super::*;

    #[test]
    fn a_time_that_the_scheduler_comes_to_at_once_is_not_missed_whatever_the_grace() {
        let cron = CronTimetable { expression: "* * * * *".into(), day_and: false };
        let none = prost_types::Duration::default();
        let timetable = Some(Timetable::Cron(cron));
        let spec = v1::ScheduleSpec { timetable, catch_up_grace: Some(none), ..Default::default() };
        let times = Times::of(&spec, ScheduleId::new(), Timestamp::UNIX_EPOCH).expect("are times");
        let at = Timestamp::UNIX_EPOCH + Duration::from_secs(600);
        let come = |after: Duration| times.come(at, at + after, 10);
        assert_eq!(come(Duration::from_millis(3)).now.len(), 1);
        let late = come(Duration::from_secs(11));
        assert_eq!((late.now.len(), late.n_missed), (0, 1));
    }
}

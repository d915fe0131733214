use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{civil::DateTime, tz::TimeZone};

use crate::{
    Invalid,
    civil::{Calendar, Clock},
};

const FIELD: &str = "cron.expression";
/// Bytes of an expression.
const MAX_SIZE: usize = 256;
/// The fields of six; five have no seconds.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];
/// Beyond it nothing fires: it is further away than anyone plans, and a search has an end there.
const LAST_YEAR: i16 = 2_200;

/// A cron expression, as times of a calendar.
#[derive(Clone, Debug)]
pub(crate) struct CronCalendar {
    cron: Cron,
    clock: Clock,
}

impl CronCalendar {
    pub(crate) fn parse(expression: &str, day_and: bool) -> Result<Self, Invalid> {
        let expression = expression.trim();
        let refuse = |why: &str| {
            let shown: String = expression.chars().take(80).collect();
            Invalid::new(
                FIELD,
                format!(
                    "`{shown}` {why}; five fields are minute, hour, day of month, month, day of week: `0 3 * * 1-5`"
                ),
            )
        };
        if expression.is_empty() {
            return Err(refuse("is empty"));
        }
        if expression.len() > MAX_SIZE {
            return Err(refuse(&format!("has {} bytes; at most {MAX_SIZE} are allowed", expression.len())));
        }
        let n_fields = expression.split_whitespace().count();
        if !expression.starts_with('@') && !(5..=6).contains(&n_fields) {
            return Err(refuse(&format!(
                "has {n_fields} fields, and not five, or six with seconds before them"
            )));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .dom_and_dow(day_and)
            .build();
        let cron = parser.parse(expression).map_err(|error| {
            let place = wrong_field(expression, parser).unwrap_or_default();
            refuse(&format!("is no cron expression{place}: {error}"))
        })?;
        let clock = clock_of(&cron);
        let calendar = Self { cron, clock };
        let start = DateTime::constant(2_024, 1, 1, 0, 0, 0, 0);
        if calendar.next(start).is_none() {
            return Err(refuse("never fires: there is no such day"));
        }
        Ok(calendar)
    }
}

/// Each hour that passes where the expression leaves out none, else what the clock on the wall shows.
fn clock_of(cron: &Cron) -> Clock {
    let leaves_out_none = (0..24).all(|hour| cron.pattern.hour_match(hour).unwrap_or(false));
    if leaves_out_none { Clock::Elapsed } else { Clock::Wall }
}

/// The first field that is wrong by itself, and where it is.
fn wrong_field(expression: &str, parser: CronParser) -> Option<String> {
    let fields: Vec<_> = expression.split_whitespace().collect();
    let names = FIELDS.get(FIELDS.len().checked_sub(fields.len())?..)?;
    let mut end = 0;
    for (field_idx, (field, name)) in fields.iter().zip(names).enumerate() {
        let start = end + expression.get(end..)?.find(field)?;
        end = start + field.len();
        let mut alone = vec!["*"; fields.len()];
        alone[field_idx] = field;
        if parser.parse(&alone.join(" ")).is_err() {
            let column = expression[..start].chars().count() + 1;
            return Some(format!(" at column {column}, the {name} `{field}`"));
        }
    }
    None
}

impl Calendar for CronCalendar {
    fn next(&self, from: DateTime) -> Option<DateTime> {
        // The library goes by whole seconds; a part of one is over by the next.
        let whole = from.with().subsec_nanosecond(0).build().ok()?;
        let at = TimeZone::UTC.to_zoned(whole).ok()?;
        let next = self.cron.find_next_occurrence(&at, whole == from).ok()?;
        (next.year() <= LAST_YEAR).then(|| next.datetime())
    }

    fn clock(&self) -> Clock {
        self.clock
    }
}

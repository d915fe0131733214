use std::{fmt, str::FromStr, time::Duration};

use anyhow::Context as _;

use crate::time::Time;

/// What a worker tells the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The task's code begins.
    Start,
    /// The task's code has done its work. That it returns comes after this.
    End,
}

/// One line of the recorder's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub what: What,
    /// The task's idempotency key; it has no space.
    pub key: String,
    pub run_id: String,
    pub epoch: u64,
    pub attempt: u32,
    pub pid: u32,
    pub at: Time,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, key, run_id, epoch, attempt, pid, at } = self;
        let what = match what {
            What::Start => "start",
            What::End => "end",
        };
        write!(f, "{what} {key} {run_id} {epoch} {attempt} {pid} {}", at.as_micros())
    }
}

impl FromStr for Record {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [what, key, run_id, epoch, attempt, pid, at] = fields[..] else {
            anyhow::bail!("the record `{line}` has {} fields, not 7", fields.len());
        };
        let what = match what {
            "start" => What::Start,
            "end" => What::End,
            other => anyhow::bail!("a record says `{other}`, neither start nor end"),
        };
        let number = |field: &str| field.parse::<u64>().with_context(|| format!("read the record `{line}`"));
        Ok(Self {
            what,
            key: key.to_owned(),
            run_id: run_id.to_owned(),
            epoch: number(epoch)?,
            attempt: u32::try_from(number(attempt)?)?,
            pid: u32::try_from(number(pid)?)?,
            at: Duration::from_micros(number(at)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            what: What::End,
            key: "task-1".into(),
            run_id: "0190".into(),
            epoch: 3,
            attempt: 2,
            pid: 77,
            at: Duration::from_micros(1_700_000_000_123_456),
        };
        assert_eq!(record.to_string().parse::<Record>().unwrap(), record);
        assert!("start task-1 0190".parse::<Record>().is_err());
    }
}

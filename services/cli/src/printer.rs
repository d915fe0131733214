//! Answers on stdout, in the form that was asked for.

use std::{
    cell::Cell,
    io::{IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    pin::pin,
    time::Duration,
};

use serde_json::Value;
use terminal_size::{Height, Width};
use tokio::{io::Interest, net::unix::pipe::Sender};

use crate::{
    ask::{DONE, Outcome},
    common::{Format, Watch, When},
    fault::Fault,
    output::{cut, escaped, names, painted, yaml},
};

/// Back to the upper left corner, with nothing below: what was shown is replaced without a flicker.
const REDRAW: &str = "\x1b[H\x1b[J";
/// The same for the first time, which leaves nothing of before on the screen.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Writes answers to stdout in the form that was asked for.
pub struct Printer {
    format: Format,
    is_coloured: bool,
    is_terminal: bool,
    /// Answers follow each other, for a program.
    is_stream: Cell<bool>,
}

impl Printer {
    /// One for stdout.
    pub fn new(format: Format, color: When) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let is_coloured = match color {
            When::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            When::Always => true,
            When::Never => false,
        };
        Self { format, is_coloured, is_terminal, is_stream: Cell::new(false) }
    }

    /// Whether people read it, who are told on stderr what programs have no use for.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// An answer, as it is written: `value` for programs, `text` for people.
    pub fn render(&self, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> String {
        match self.format {
            Format::Table if self.is_coloured => painted(&text()),
            Format::Table => text(),
            Format::Json if self.is_stream.get() => escaped(&format!("{}\n", value())),
            Format::Json => escaped(&format!("{:#}\n", value())),
            Format::Yaml if self.is_stream.get() => format!("---\n{}", yaml(&value())),
            Format::Yaml => yaml(&value()),
            Format::Name => names(&value()),
        }
    }

    /// Writes an answer; the command is done then.
    pub fn answer(&self, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Outcome {
        self.write(&self.render(value, text))
    }

    /// Writes what was rendered; the command is done then.
    pub fn write(&self, rendered: &str) -> Outcome {
        print(rendered)
    }

    /// One of many lines: `value` for programs, `line` for people.
    pub fn line(&self, value: impl FnOnce() -> Value, line: impl FnOnce() -> String) -> Result<(), Fault> {
        match self.format {
            Format::Json => write(&escaped(&format!("{}\n", value()))),
            Format::Yaml => write(&format!("---\n{}", yaml(&value()))),
            _ => write(&self.render(value, || format!("{}\n", line()))),
        }
    }

    /// Writes what `look` has rendered: once, or with `--watch` whenever it has changed, until Ctrl-C or until nobody
    /// reads any more.
    pub async fn show(&self, watch: Watch, mut look: impl AsyncFnMut() -> Result<String, Fault>) -> Outcome {
        self.is_stream.set(watch.watch && !self.is_terminal);
        let mut shown = look().await?;
        if !watch.watch {
            write(&shown)?;
            return DONE;
        }
        shown = self.fitted(shown);
        let (first, again) = if self.is_terminal { (CLEAR, REDRAW) } else { ("", "") };
        write(&format!("{first}{shown}"))?;
        let mut enough = pin!(enough());
        loop {
            tokio::select! {
                biased;
                () = &mut enough => return DONE,
                // A question that is given up half way changes nothing.
                found = look_later(watch.interval, &mut look) => {
                    let found = self.fitted(found?);
                    if found != shown {
                        write(&format!("{again}{found}"))?;
                        shown = found;
                    }
                }
            }
        }
    }
}

impl Printer {
    /// As much of it as is seen at once: more would move the terminal up, and the next time it would be drawn elsewhere.
    fn fitted(&self, text: String) -> String {
        match terminal_size::terminal_size() {
            Some((Width(n_columns), Height(n_rows))) if self.is_terminal && n_rows > 0 => {
                cut(&text, n_rows.into(), n_columns.into())
            }
            _ => text,
        }
    }
}

async fn look_later(
    interval: Duration,
    look: &mut impl AsyncFnMut() -> Result<String, Fault>,
) -> Result<String, Fault> {
    tokio::time::sleep(interval).await;
    look().await
}

/// Until Ctrl-C, or until the reader of stdout has gone: something that writes now and then would else not notice.
pub async fn enough() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = reader_gone() => {}
    }
}

/// Never, where stdout is a file or what else cannot be asked.
async fn reader_gone() {
    // Only looked at, never written to: so it stays a file that blocks, as what else writes there expects.
    let out = std::io::stdout().as_fd().try_clone_to_owned();
    if let Ok(Ok(out)) = out.map(Sender::from_owned_fd_unchecked)
        && out.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Writes what has one form alone; the command is done then.
pub fn print(text: &str) -> Outcome {
    write(text)?;
    DONE
}

fn write(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

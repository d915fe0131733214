use std::io::{IsTerminal as _, Write as _};

/// Where the demo speaks: on a terminal with one line that changes, elsewhere in plain lines.
pub struct Screen {
    is_terminal: bool,
    last_step: Option<usize>,
}

impl Screen {
    /// For stdout.
    pub fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), last_step: None }
    }

    /// A line that stays.
    pub fn say(&mut self, line: &str) {
        self.clear();
        self.write(&format!("{line}\n"));
    }

    /// How far things are. Without a terminal one line for each 10 percent.
    pub fn status(&mut self, percent: usize, line: &str) {
        if self.is_terminal {
            self.write(&format!("\r\x1b[2K{line}"));
        } else if self.last_step != Some(percent / 10) {
            self.last_step = Some(percent / 10);
            self.write(&format!("{line}\n"));
        }
    }

    /// Takes the line that changes away.
    pub fn clear(&mut self) {
        if self.is_terminal {
            self.write("\r\x1b[2K");
        }
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody listens any more: the demo goes on, the server is what matters.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

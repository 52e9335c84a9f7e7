//! What people and scripts see: data on stdout, talk on stderr.
//!
//! - [`Printer`]: the two streams, and whether colour and progress are wanted.
//! - [`ColorChoice`]: `auto`, `always`, `never`; `NO_COLOR` counts.
//!
//! Rule: only this module prints; a closed pipe is success.

use std::io::{self, IsTerminal, Write};

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a reading command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document with a documented, stable shape.
    Json,
}

/// The two streams of a command.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    color_stderr: bool,
    progress: bool,
}

impl Printer {
    /// Decides once what the streams can do.
    #[must_use]
    pub fn new(color: ColorChoice, no_color_set: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let color_stderr = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color_set,
        };
        Self { color_stderr, progress: terminal }
    }

    /// Whether messages on stderr may be coloured.
    #[must_use]
    pub const fn color_stderr(self) -> bool {
        self.color_stderr
    }

    /// Whether progress may be drawn: stderr is a terminal.
    #[must_use]
    pub const fn progress(self) -> bool {
        self.progress
    }

    /// Writes data to stdout, with a line break behind it.
    ///
    /// # Errors
    ///
    /// The stream cannot be written; a reader that has gone away is no error.
    pub fn data(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Writes a line for people to stderr. Failures are ignored: there is nobody to tell.
    pub fn say(self, text: &str) {
        writeln!(io::stderr().lock(), "{text}").ok();
    }

    /// Writes a line over the last one, on a terminal; an empty text clears it.
    pub fn status(self, text: &str) {
        let mut out = io::stderr().lock();
        write!(out, "\r\u{1b}[2K{text}").and_then(|()| out.flush()).ok();
    }

    /// Prints an error with the chain of its causes, each on its line.
    pub fn error(self, error: &anyhow::Error) {
        let label = if self.color_stderr { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        // Lines are ours; what else controls a terminal comes from whoever is quoted.
        let quoted = |text: String| text.split('\n').map(plain).collect::<Vec<_>>().join("\n");
        let mut text = format!("{label} {}", quoted(error.to_string()));
        for cause in error.chain().skip(1) {
            text.push_str(&format!("\n  caused by: {}", quoted(cause.to_string())));
        }
        self.say(&text);
    }
}

/// An error and its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A text of others without control characters: it neither moves the cursor nor begins a line.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same within a bound, for messages.
#[must_use]
pub fn clean(text: &str) -> String {
    /// A line of an error; the page of the thing itself has the rest.
    const MAX_CHARS: usize = 300;
    let mut cleaned = plain(&text.chars().take(MAX_CHARS).collect::<String>());
    if text.chars().nth(MAX_CHARS).is_some() {
        cleaned.push('…');
    }
    cleaned
}

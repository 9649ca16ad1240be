//! How much a program that runs by itself says of what it does: log lines on standard error, by the names of levels that
//! operators of event pipelines know. Never says what failed in the end, which is told in any case.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::output::Format;

/// From how bad on something is said.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[value(rename_all = "UPPER")]
pub enum Level {
    /// What happens to each event, and how far it is
    Debug,
    /// What it begins, and what has changed
    Info,
    /// What somebody should look at
    Warning,
    /// What it could not do
    Error,
    /// Nothing but why it ends
    Critical,
}

impl Level {
    /// From now on lines are written, for people or as one object a line. Once a process.
    pub fn start(self, format: Format) {
        let directive = if self == Level::Critical { "off" } else { self.as_str() };
        // Of this program only: what it is built from says more than anybody wants to know.
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(format!("tilde={directive}")))
            .with_target(false)
            .with_writer(io::stderr);
        match format {
            Format::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
            Format::Json => builder.json().flatten_event(true).init(),
        }
    }

    /// As lines of a log begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn levels_go_by_their_names() {
        for (name, level) in [("DEBUG", Level::Debug), ("warning", Level::Warning), ("Critical", Level::Critical)] {
            assert_eq!(Level::from_str(name, true), Ok(level));
        }
        assert!(Level::from_str("verbose", true).is_err());
    }
}

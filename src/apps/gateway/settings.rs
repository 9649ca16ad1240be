//! What a gateway is told: flags before its file before defaults. Unknown keys are refused with their place. Never opens
//! anything but the file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{hall::Config, key::CollapseKey};
use crate::{
    apps::{failure::Failure, settings_file},
    units::{Span, above_zero},
};

/// What can be said on the command line.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    /// The file with the settings; its keys are named as the flags, with `_` for `-`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where callers come in: an IP address and a port; port 0 takes any that is free [default: 127.0.0.1:8090]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Where /metrics is served, as in 127.0.0.1:8091; port 0 takes any that is free [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Whether equal requests that wait at the same time take turns, or share one answer [default: collapse]
    #[arg(long, value_enum)]
    mode: Option<Mode>,

    /// What stands between the gateway and the back end: a directory, or a Tilde broker [default: files]
    #[arg(long, value_enum)]
    transport: Option<Kind>,

    /// The directory of --transport files; it may come later [default: ./gateway]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// How long a caller waits for its answer, as in 20s [default: 20s]
    #[arg(long, value_name = "DURATION", value_parser = above_zero)]
    timeout: Option<Duration>,

    /// What makes requests equal, with commas in between: method, path, query, body, header:NAME. What is not named does not
    /// count: callers who differ only there get the same answer [default: method,path]
    #[arg(long, value_name = "PARTS")]
    collapse_key: Option<CollapseKey>,

    /// How long a request stays with the back end when nobody waits for its answer [default: 30 times --timeout]
    #[arg(long, value_name = "DURATION", value_parser = above_zero)]
    abandon_after: Option<Duration>,

    /// Callers that wait at the same time, at most [default: 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_waiting: Option<u32>,
}

/// The same in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    mode: Option<Mode>,
    transport: Option<Kind>,
    directory: Option<PathBuf>,
    timeout: Option<Span>,
    collapse_key: Option<CollapseKey>,
    abandon_after: Option<Span>,
    max_waiting: Option<u32>,
}

/// What becomes of equal requests.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They take turns
    Primitive,
    /// Those that wait at the same time share one answer
    Collapse,
}

/// What stands between the gateway and its back end.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A directory
    Files,
    /// A Tilde broker
    Broker,
}

/// What is in force.
#[derive(Debug)]
pub struct Settings {
    /// Where callers come in.
    pub listen: SocketAddr,
    /// Where the counters are served.
    pub metrics: Option<SocketAddr>,
    /// What stands in between.
    pub transport: Kind,
    /// Of the transport `files`.
    pub directory: PathBuf,
    /// How callers wait.
    pub hall: Config,
}

/// Requests stay out for so many times as long as a caller waits.
const ABANDONED_TIMES: u32 = 30;

impl Flags {
    /// With what the file says, if one is named.
    pub fn settings(&self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map_or(Ok(File::default()), settings_file::read)?;
        let span = |span: Span| span.0;
        let timeout = self.timeout.or(file.timeout.map(span)).unwrap_or(Duration::from_secs(20));
        let abandon_after = self.abandon_after.or(file.abandon_after.map(span));
        let abandon_after = abandon_after.unwrap_or(timeout.saturating_mul(ABANDONED_TIMES));
        let max_waiting = self.max_waiting.or(file.max_waiting).unwrap_or(100_000);
        let directory = self.directory.clone().or(file.directory).unwrap_or("./gateway".into());
        if timeout.is_zero() || max_waiting == 0 || directory.as_os_str().is_empty() {
            let message =
                "the timeout and max_waiting are above zero, and the directory has a name: one of them is not so";
            return Err(Failure::usage(message));
        }
        if abandon_after < timeout {
            return Err(Failure::usage(format!(
                "a timeout of {} and an abandon_after of {} make no sense: the second is no shorter than the first",
                Span(timeout),
                Span(abandon_after)
            )));
        }
        Ok(Settings {
            listen: self.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8090))),
            metrics: self.metrics.or(file.metrics),
            transport: self.transport.or(file.transport).unwrap_or(Kind::Files),
            directory,
            hall: Config {
                collapses: self.mode.or(file.mode).unwrap_or(Mode::Collapse) == Mode::Collapse,
                collapse_key: self.collapse_key.clone().or(file.collapse_key).unwrap_or_default(),
                timeout,
                abandon_after,
                max_waiting: max_waiting as usize,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(file: &str, words: &[&str]) -> Result<Settings, Failure> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.toml");
        fs::write(&path, file).unwrap();
        let config = ["tilde", "--config", path.to_str().unwrap()];
        Line::try_parse_from([&config, words].concat()).unwrap().flags.settings()
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_defaults() {
        let file = "mode = \"primitive\"\ntimeout = \"5s\"\ndirectory = \"there\"\ncollapse_key = [\"path\", \"header:accept\"]";
        let found = settings(file, &["--timeout", "7s"]).unwrap();
        assert!(!found.hall.collapses && found.transport == Kind::Files);
        assert_eq!((found.hall.timeout, found.directory), (Duration::from_secs(7), "there".into()));
        assert_eq!(found.hall.abandon_after, Duration::from_secs(210));
        assert_eq!(found.hall.collapse_key, "path,header:accept".parse().unwrap());
        assert!(settings("", &[]).unwrap().hall.collapses);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let told = |file: &str| settings(file, &[]).unwrap_err().to_string();
        assert!(told("mode = \"collapse\"\nmood = 1").contains("gateway.toml, line 2: unknown field `mood`"));
        assert!(told("\nmode = \"fast\"").contains("gateway.toml, line 2: "));
        assert!(told("collapse_key = [\"cookie\"]").contains("no part of a collapse key"));
        for nothing in ["max_waiting = 0", "timeout = \"0s\"", "directory = \"\""] {
            assert!(told(nothing).contains("above zero"), "{nothing}");
        }
        assert!(told("timeout = \"20s\"\nabandon_after = \"10s\"").contains("make no sense"));
    }
}

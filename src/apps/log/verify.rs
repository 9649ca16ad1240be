//! `tilde log verify`: whether the files are as they were written.

use std::io::{self, Write};

use serde::Serialize;

use super::{Examined, Place, examine};
use crate::{
    apps::{
        failure::Failure,
        output::{self, Format},
    },
    engine::log::{
        finding::{Finding, Kind},
        io::ReadOnly,
        state,
    },
};

/// Check all files: exit code 0 if they are whole or a crash merely tore the end, 1 if anything is damaged
///
/// Reads everything, and compares checksums, the order of sequences, where one file ends and the next begins, and
/// indexes; and whether the state can be read. Nothing is changed.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_: &Args, place: &Place) -> anyhow::Result<()> {
    let directory = place.open()?;
    let mut damaged = Vec::new();
    if let Some(fault) = directory.state_fault().map_err(|error| Failure::new(error.to_string()))? {
        report_state(&fault, place.format)?;
        damaged.push("the state".to_owned());
    }
    for name in place.names(&directory, &ReadOnly)? {
        let examined = examine(&directory, &ReadOnly, &name)?;
        report(&examined, place.format)?;
        if examined.log.is_damaged() {
            damaged.push(format!("the log of {name}"));
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(format!("damaged: {}", damaged.join(", ")));
    Err(failure.hint("restore the files from a copy, or `tilde log repair` gives up what is damaged").into())
}

/// Prints what is wrong with the state.
pub fn report_state(fault: &str, format: Format) -> io::Result<()> {
    let what = format!("{fault}; the settings of namespaces and what was purged are lost, no message is");
    match format {
        Format::Json => output::json(&State { file: state::FILE, kind: Kind::Damage.word(), what: &what }),
        Format::Text => output::line(format!("{}: {}: {what}", state::FILE, Kind::Damage.word())),
    }
}

/// What is wrong with the state, as one object.
#[derive(Serialize)]
struct State<'a> {
    file: &'a str,
    kind: &'static str,
    what: &'a str,
}

/// Prints what was found in one log.
pub fn report(examined: &Examined, format: Format) -> io::Result<()> {
    let log = &examined.log;
    let (name, segments, messages) = (log.name.as_str(), log.segments.len(), log.messages());
    let mut out = output::stdout();
    for finding in &log.findings {
        match format {
            Format::Json => output::json_line(&mut out, &Object::new(name, finding))?,
            Format::Text => writeln!(out, "{name}: {}", sentence(finding))?,
        }
    }
    let damaged = log.is_damaged();
    match format {
        Format::Json => output::json_line(&mut out, &Summary { namespace: name, segments, messages, damaged })?,
        Format::Text => {
            let word = if damaged { "damaged" } else { "OK" };
            let (messages, files) = (output::count(messages, "message"), output::count(segments as u64, "file"));
            writeln!(out, "{name}: {word}, {messages} in {files}")?;
        }
    }
    out.flush()
}

fn sentence(finding: &Finding) -> String {
    let Finding { file, kind, what, .. } = finding;
    let place = finding.offset.map(|offset| format!(" at {offset}")).unwrap_or_default();
    let lost = finding.lost.map(|lost| format!("; {lost}")).unwrap_or_default();
    format!("{file}{place}: {}: {what}{lost}", kind.word())
}

/// A finding as one object.
#[derive(Serialize)]
struct Object<'a> {
    namespace: &'a str,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    kind: &'static str,
    what: &'a str,
    // The last is left out where nothing tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_lost: Option<u64>,
}

impl<'a> Object<'a> {
    fn new(namespace: &'a str, finding: &'a Finding) -> Self {
        Object {
            namespace,
            file: &finding.file,
            offset: finding.offset,
            kind: finding.kind.word(),
            what: &finding.what,
            first_lost: finding.lost.map(|lost| lost.first.0),
            last_lost: finding.lost.and_then(|lost| lost.last).map(|last| last.0),
        }
    }
}

/// What is said at the end of each log.
#[derive(Serialize)]
struct Summary<'a> {
    namespace: &'a str,
    segments: usize,
    messages: u64,
    damaged: bool,
}

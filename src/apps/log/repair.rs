//! `tilde log repair`: gives up what is damaged, and keeps all else.

use std::io::{self, Write};

use serde::Serialize;

use super::{Examined, Place, examine, verify};
use crate::{
    apps::{
        ask,
        failure::Failure,
        output::{self, Format},
    },
    clock::SystemClock,
    engine::log::{
        io::Disk,
        repair::{Plan, Step, renew_state},
        state,
    },
    model::NamespaceName,
};

/// Give up what is damaged, so that a broker starts again with all else
///
/// Says what is damaged, which messages that cost, and what it will do, and asks before it changes anything. A damaged
/// file stays beside what replaces it, with `.damaged` added to its name, and needs as much room once more; remove it
/// when nothing more can be hoped for from it. Copy the directory first if you can.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs it.
pub fn run(args: &Args, place: &Place) -> anyhow::Result<()> {
    let directory = place.open()?;
    let state = directory.state_fault().map_err(|error| Failure::new(error.to_string()))?;
    if let Some(fault) = &state {
        verify::report_state(fault, place.format)?;
        tell_state(place.format)?;
    }
    let mut logs = Vec::new();
    for name in place.names(&directory, &Disk)? {
        logs.push(examine(&directory, &Disk, &name)?);
    }
    let mut plans = Vec::new();
    for examined in &logs {
        verify::report(examined, place.format)?;
        if examined.log.is_damaged() {
            let plan = Plan::new(&examined.log, &SystemClock);
            tell(&examined.log.name, plan.steps(), place.format)?;
            plans.push((examined, plan));
        }
    }
    if (plans.is_empty() && state.is_none()) || args.dry_run {
        return Ok(());
    }
    if !args.yes {
        ask::confirm("give up what is damaged, as said above?")?;
    }
    if state.is_some() {
        renew_state(&directory).map_err(|error| Failure::new(error.to_string()))?;
    }
    for (examined, plan) in plans {
        plan.run(&Disk, &examined.dir).map_err(|error| Failure::new(error.to_string()))?;
        let again = examine(&directory, &Disk, &examined.log.name)?;
        check(&again, place.format)?;
    }
    Ok(())
}

fn tell_state(format: Format) -> io::Result<()> {
    let what = "begin a new one: the broker then serves every namespace that has a log, and keeps everything in it";
    match format {
        Format::Json => {
            output::json(&Object { namespace: "", file: state::FILE.into(), step: "renew", what: what.into() })
        }
        Format::Text => output::line(format!("{}: to do: {what}", state::FILE)),
    }
}

fn tell(name: &NamespaceName, steps: &[Step], format: Format) -> io::Result<()> {
    let mut out = output::stdout();
    for step in steps {
        let (namespace, file) = (name.as_str(), step.file());
        match format {
            Format::Json => {
                let object = Object { namespace, file, step: step.word(), what: step.to_string() };
                output::json_line(&mut out, &object)?;
            }
            Format::Text => writeln!(out, "{namespace}: {file}: to do: {step}")?,
        }
    }
    out.flush()
}

/// Makes sure that nothing damaged is left.
fn check(examined: &Examined, format: Format) -> anyhow::Result<()> {
    let name = &examined.log.name;
    if examined.log.is_damaged() {
        verify::report(examined, format)?;
        let message = format!("the log of {name} is still damaged; the files as they were stay beside it");
        return Err(Failure::new(message).hint("is the disk still failing? copy the directory to another one").into());
    }
    let messages = examined.log.messages();
    match format {
        Format::Json => output::json(&Done { namespace: name.as_str(), messages, repaired: true })?,
        Format::Text => output::line(format!("{name}: repaired, {} kept", output::count(messages, "message")))?,
    }
    Ok(())
}

/// A step as one object.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    file: String,
    step: &'static str,
    what: String,
}

/// What is said when a log was repaired.
#[derive(Serialize)]
struct Done<'a> {
    namespace: &'a str,
    messages: u64,
    repaired: bool,
}

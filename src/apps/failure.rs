//! What a person at the terminal is told when something failed: a sentence, perhaps a hint, and an exit code.

use std::{fmt, io, process::ExitCode};

use tonic::Code;

use super::flags::Flags;
use crate::client::{Fate, Fault};

/// Something failed.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    /// It has words of the broker's, who names fields where a person gave flags.
    told: bool,
    code: u8,
}

impl Failure {
    /// It was tried, and failed.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), hint: None, told: false, code: 1 }
    }

    /// The broker said what failed: what it names as a field is told as a flag.
    pub fn told(message: impl Into<String>) -> Self {
        Failure { told: true, ..Failure::new(message) }
    }

    /// It was done, and not all went well.
    pub fn in_part(message: impl Into<String>) -> Self {
        Failure { code: 3, ..Failure::new(message) }
    }

    /// It was not tried: the command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure { code: 2, ..Failure::new(message) }
    }

    /// Says what to do, where the sentence itself does not.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what follows from it.
    pub fn so(mut self, what: &str) -> Self {
        self.message = format!("{}; {what}", self.message);
        self
    }

    /// A call to the broker at `url` failed.
    pub fn call(fault: &Fault, url: &str) -> Self {
        match fault.fate {
            Fate::Unsent => Failure::new(format!("cannot reach a broker at {url}: {fault}")).hint(format!(
                "is `tilde serve` running there? --broker URL or TILDE_BROKER name another, {} is the default",
                crate::client::DEFAULT_URL
            )),
            _ if fault.is_connection() && fault.code == Code::DeadlineExceeded => {
                Failure::new(format!("the broker at {url} is silent: {fault}"))
            }
            _ if fault.is_connection() => Failure::new(format!("the connection to {url} broke: {fault}")),
            _ => {
                let failure = Failure::told(fault.to_string());
                match hint(fault) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

/// What helps, as flags of this program.
fn hint(fault: &Fault) -> Option<String> {
    match fault.reason.as_deref()? {
        "SEQUENCE_CONFLICT" => Some("`tilde topics show TOPIC` tells the topic's last sequence".into()),
        "POSITION_EXPIRED" => Some("--from earliest starts with the oldest message that is kept".into()),
        "SUBSCRIPTION_NOT_FOUND" => Some("`tilde subscription list` names those that there are".into()),
        "SUBSCRIPTION_MISMATCH" => Some("`tilde subscription update` changes one that exists".into()),
        "SUBSCRIPTION_PAUSED" => Some("`tilde subscription resume NAME` lets it deliver again".into()),
        "SLOW_CONSUMER" => {
            let cursor = fault.metadata.get("cursor")?;
            Some(format!("--from {cursor} goes on where the stream was cut"))
        }
        _ => fault.retry_delay.map(|delay| format!("try again in {}", crate::units::Span(delay))),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints an error to standard error, in the words of the command line, and says with which code to exit. A reader that
/// closed its pipe has all that it wanted: that is no error.
pub fn report(error: &anyhow::Error, flags: &Flags) -> ExitCode {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        return ExitCode::SUCCESS;
    }
    let (sentence, failure) = (format!("{error:#}"), error.downcast_ref::<Failure>());
    match failure.is_some_and(|failure| failure.told) {
        true => eprintln!("error: {}", flags.told(&sentence)),
        false => eprintln!("error: {sentence}"),
    }
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_ref()) {
        eprintln!("hint: {hint}");
    }
    failure.map_or(ExitCode::FAILURE, |failure| ExitCode::from(failure.code))
}

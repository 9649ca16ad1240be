//! Each line of standard input as a message, byte for byte, as soon as it comes. Many are under way on one stream, which
//! keeps their order and sends again what a broken connection leaves in doubt.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal},
};

use prost::Message;
use serde::Serialize;
use tokio::{sync::watch, time};

use super::{
    super::{
        failure::Failure,
        interrupt::{self, Interrupt},
        output::{self, Format},
        remote::Remote,
    },
    Args, Retry,
    input::Lines,
    payload,
    scheduled::Scheduled,
};
use crate::{
    client::{Fate, Fault, Pending, PublishRequest, Published, Publisher},
    units::Span,
};

/// Lines that are under way before the first of them must be answered. So many can be published after one that is
/// refused.
const UNDER_WAY: usize = 1_000;

/// How often a person at a terminal is told how far it is.
const PROGRESS_LINES: u64 = 100_000;

/// Publishes all of standard input.
pub async fn publish(args: &Args) -> anyhow::Result<()> {
    // Nothing is read before somebody is there to take it.
    args.connect(&mut Retry::new(args.retry_for.0, false)).await?;
    let publisher = args.publisher()?;
    tell_trouble(publisher.trouble(), args);
    let mut work = Work { publisher, template: args.request(), pending: VecDeque::new(), tally: Tally::default() };
    let scheduled = Scheduled::from_now(work.template.deliver_time);
    let lines = Lines::read(io::stdin(), work.template.encoded_len());
    let missing = work.publish(lines, Interrupt::listen(1)?).await;
    let Work { tally, .. } = work;
    if tally.told > 0 {
        eprintln!();
    }
    match missing {
        Ok(None) => {}
        Ok(Some(missing)) => return Err(tally.failure(&missing, args).into()),
        Err(error) => return Err(Failure::new(format!("{error}\n{tally}")).into()),
    }
    match args.format {
        Format::Text => output::line(format!("{} {tally}{scheduled}", args.topic))?,
        Format::Json => output::json(&Object::new(&args.topic, &tally, scheduled))?,
    }
    Ok(())
}

impl Args {
    fn publisher(&self) -> Result<Publisher, Failure> {
        let options = self.remote.client(&self.tenant)?.publisher_options();
        Ok(options.patience(self.timeout.0.max(self.retry_for.0)).trouble_limit(self.retry_for.0).start())
    }
}

/// Says on standard error whenever publishing begins to wait.
fn tell_trouble(mut trouble: watch::Receiver<Option<Fault>>, args: &Args) {
    let (remote, limit) = (args.remote.clone(), args.retry_for.0);
    if limit.is_zero() {
        return;
    }
    tokio::spawn(async move {
        while let Ok(fault) = trouble.wait_for(Option::is_some).await.map(|fault| fault.clone()) {
            eprintln!("waiting for up to {}: {}", Span(limit), said(&remote, fault));
            if trouble.wait_for(Option::is_none).await.is_err() {
                break;
            }
        }
    });
}

fn said(remote: &Remote, fault: Option<Fault>) -> String {
    fault.map(|fault| remote.failure(fault).to_string()).unwrap_or_default()
}

/// Lines on their way.
struct Work {
    publisher: Publisher,
    template: PublishRequest,
    /// With their numbers, oldest first.
    pending: VecDeque<(u64, Pending)>,
    tally: Tally,
}

impl Work {
    /// Publishes lines to their end, until one is not published, or until the person has had enough. The error is that of
    /// reading them, or of not waiting for their answers.
    async fn publish(&mut self, lines: Lines, mut interrupt: Interrupt) -> Result<Option<Missing>, String> {
        let mut missing = None;
        let end = tokio::select! {
            end = async {
                let end = self.send_all(lines, &mut missing).await;
                self.answers(0, &mut missing).await;
                end
            } => end,
            () = interrupt.wait() => {
                eprintln!("stopped: nothing after line {} was sent", self.tally.sent);
                self.leave(&mut missing).await
            }
        };
        if missing.is_some() {
            return Ok(missing);
        }
        end.map(|()| None)
    }

    /// Dropped before it ends it sends nothing more.
    async fn send_all(&mut self, mut lines: Lines, missing: &mut Option<Missing>) -> Result<(), String> {
        let progress = io::stderr().is_terminal() && !io::stdin().is_terminal();
        loop {
            tokio::select! {
                biased;
                batch = lines.batch() => match batch? {
                    batch if batch.is_empty() => return Ok(()),
                    batch => self.send(batch, missing).await,
                },
                (line, answer) = first(&mut self.pending), if !self.pending.is_empty() => {
                    self.tally.take(line, answer, missing);
                }
            }
            self.answers(UNDER_WAY, missing).await;
            if missing.is_some() {
                return Ok(());
            }
            if progress {
                self.tally.tell();
            }
        }
    }

    /// Waits for the answers as long as a person does.
    async fn leave(&mut self, missing: &mut Option<Missing>) -> Result<(), String> {
        if time::timeout(interrupt::PATIENCE / 2, self.answers(0, missing)).await.is_ok() {
            return Ok(());
        }
        let lines: Vec<u64> = self.pending.drain(..).map(|(line, _)| line).collect();
        if let Some(missing) = missing {
            missing.unsure.extend(lines);
            return Ok(());
        }
        Err(format!("whether {} came to be published is unknown: the broker did not answer", Numbers(&lines)))
    }

    async fn send(&mut self, lines: Vec<Vec<u8>>, missing: &mut Option<Missing>) {
        for line in lines {
            let request = PublishRequest { payload: Some(payload::of(line)), ..self.template.clone() };
            let sent = self.publisher.send(request).await;
            self.tally.sent += 1;
            match sent {
                Ok(pending) => self.pending.push_back((self.tally.sent, pending)),
                Err(fault) => return self.tally.take(self.tally.sent, Err(fault), missing),
            }
        }
    }

    /// Waits until no more than so many lines are under way.
    async fn answers(&mut self, most: usize, missing: &mut Option<Missing>) {
        while self.pending.len() > most {
            let (line, answer) = first(&mut self.pending).await;
            self.tally.take(line, answer, missing);
        }
    }
}

/// What became of the oldest line. Dropped before it ends it changes nothing.
async fn first(pending: &mut VecDeque<(u64, Pending)>) -> (u64, Result<Published, Fault>) {
    let Some((line, answer)) = pending.front_mut() else { return std::future::pending().await };
    let told = (*line, answer.await);
    pending.pop_front();
    told
}

/// Lines that the broker did not say it has published, counted from 1, and why.
struct Missing {
    /// They are not published.
    refused: Vec<u64>,
    /// They may be.
    unsure: Vec<u64>,
    /// The line that the fault is about.
    line: u64,
    fault: Fault,
}

impl Missing {
    fn new(line: u64, fault: Fault) -> Self {
        Missing { refused: Vec::new(), unsure: Vec::new(), line, fault }
    }

    /// Adds a line. What counts is the fault that leaves the least to do: with one line that may be published nothing
    /// is sent again, and with one that waiting does not mend there is nothing to wait for.
    fn add(&mut self, line: u64, fault: Fault) {
        match fault.fate {
            Fate::Unknown => self.unsure.push(line),
            Fate::Refused | Fate::Unsent => self.refused.push(line),
        }
        let weight = |fault: &Fault| (fault.fate == Fate::Unknown, !fault.is_passing());
        if weight(&fault) > weight(&self.fault) {
            (self.line, self.fault) = (line, fault);
        }
    }
}

/// Which lines: `line 3`, `lines 3 to 5 and 9`.
struct Numbers<'a>(&'a [u64]);

impl std::fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.len() == 1 { "line " } else { "lines " })?;
        let runs: Vec<&[u64]> = self.0.chunk_by(|before, after| before + 1 == *after).collect();
        for (at, run) in runs.iter().enumerate() {
            match at {
                0 => {}
                _ if at + 1 == runs.len() => f.write_str(" and ")?,
                _ => f.write_str(", ")?,
            }
            match run {
                [first, .., last] => write!(f, "{first} to {last}")?,
                alone => write!(f, "{}", alone[0])?,
            }
        }
        Ok(())
    }
}

/// How far it is.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    published: u64,
    first_sequence: u64,
    last_sequence: u64,
    told: u64,
}

impl Tally {
    fn take(&mut self, line: u64, answer: Result<Published, Fault>, missing: &mut Option<Missing>) {
        match answer {
            Ok(published) => self.count(published.sequence),
            Err(fault) => missing.get_or_insert_with(|| Missing::new(line, fault.clone())).add(line, fault),
        }
    }

    fn count(&mut self, sequence: Option<u64>) {
        self.published += 1;
        if let Some(sequence) = sequence {
            self.first_sequence = if self.first_sequence == 0 { sequence } else { self.first_sequence };
            self.last_sequence = self.last_sequence.max(sequence);
        }
    }

    fn tell(&mut self) {
        if self.published / PROGRESS_LINES > self.told {
            self.told = self.published / PROGRESS_LINES;
            eprint!("\r{} lines", self.published);
        }
    }

    /// Says which lines are published, which are not, and of which nobody knows.
    fn failure(&self, missing: &Missing, args: &Args) -> Failure {
        let Missing { refused, unsure, line, fault } = missing;
        let cause = args.remote.failure(fault.clone());
        let was = |lines: &[u64]| if lines.len() == 1 { "was" } else { "were" };
        let not = format!("{} {} not published", Numbers(refused), was(refused));
        let unknown = format!("whether {} {} published is unknown", Numbers(unsure), was(unsure));
        let what = match (refused.len(), unsure.len()) {
            (_, 0) => not,
            (0, _) => unknown,
            _ => format!("{unknown}, and {not}"),
        };
        let whose = match refused.len() + unsure.len() {
            1 => String::new(),
            _ => format!("line {line}: "),
        };
        // The broker takes each line by itself: those that were under way behind one that it refuses are there too.
        let others = match self.published {
            0 => String::new(),
            _ => format!(", which is all others up to line {}", self.sent),
        };
        let rest = format!("{self}{others}; nothing after line {} was sent", self.sent);
        let failure = Failure::told(format!("{what}: {whose}{cause}\n{rest}"));
        match fault.fate {
            Fate::Unknown => failure.hint(format!(
                "`tilde subscribe {} --from earliest --end` shows which have arrived: a later one may have without those before",
                args.topic
            )),
            _ => failure,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { published, first_sequence, last_sequence, .. } = self;
        match published {
            0 => f.write_str("0 lines published"),
            1 => write!(f, "1 line published, sequence {first_sequence}"),
            _ => write!(f, "{published} lines published, sequences {first_sequence} to {last_sequence}"),
        }
    }
}

#[derive(Serialize)]
struct Object<'a> {
    topic: &'a str,
    published: u64,
    first_sequence: u64,
    last_sequence: u64,
    #[serde(flatten)]
    scheduled: Scheduled,
}

impl<'a> Object<'a> {
    fn new(topic: &'a str, tally: &Tally, scheduled: Scheduled) -> Self {
        let Tally { published, first_sequence, last_sequence, .. } = *tally;
        Object { topic, published, first_sequence, last_sequence, scheduled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::PublishError;

    fn fault(code: tonic::Code, reason: &str) -> Fault {
        let retry_delay = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        Fault::from(PublishError { code: code.into(), reason: reason.into(), retry_delay, ..Default::default() })
    }

    #[test]
    fn the_fault_that_leaves_the_least_to_do_counts() {
        let later = || fault(tonic::Code::ResourceExhausted, "RATE_LIMITED");
        let never = || fault(tonic::Code::InvalidArgument, "MESSAGE_INVALID");
        let unsure = || fault(tonic::Code::Unavailable, "STORAGE_FAILED");
        let gather = |faults: [(u64, Fault); 3]| {
            let (mut tally, mut missing) = (Tally::default(), None);
            faults.into_iter().for_each(|(line, fault)| tally.take(line, Err(fault), &mut missing));
            missing.unwrap()
        };
        let missing = gather([(3, later()), (4, never()), (5, later())]);
        assert_eq!((missing.line, missing.fault, missing.refused), (4, never(), vec![3, 4, 5]));
        let missing = gather([(3, never()), (7, unsure()), (8, later())]);
        assert_eq!((missing.line, missing.refused.as_slice(), missing.unsure.as_slice()), (7, &[3, 8][..], &[7][..]));
    }

    #[test]
    fn lines_are_named_in_runs() {
        for (lines, text) in
            [(&[3][..], "line 3"), (&[3, 4], "lines 3 to 4"), (&[1, 3, 5, 6, 7], "lines 1, 3 and 5 to 7")]
        {
            assert_eq!(Numbers(lines).to_string(), text);
        }
    }
}

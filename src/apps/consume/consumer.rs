//! Takes deliveries, has them worked on, and settles each when its work is done. A message is acknowledged only after
//! that; whatever else happens, it comes again.

use std::{
    collections::VecDeque,
    future,
    io::{self, BufWriter, StdoutLock, Write as _},
    mem,
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::{self, Instant},
};

use super::{
    leases::Leases,
    line::{Event, Line, Requests},
    outbox::Outbox,
    program::{Outcome, Program},
};
use crate::{
    apps::{
        delivery::With,
        failure::Failure,
        gap,
        interrupt::Interrupt,
        message::{Form, on_its_line},
        output,
    },
    client::Fault,
    clock::{Clock as _, SystemClock},
    pb::v1::{Attached, Confirmation, ConsumeResponse, Delivery, Verdict},
};

/// How long a consumer has for a delivery, until the broker says how long.
const ACK_DEADLINE: Duration = Duration::from_secs(30);
/// How long the broker may take to end the stream once everything is settled.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What is done with messages.
pub enum Work {
    /// They are printed.
    Print(Form, BufWriter<StdoutLock<'static>>),
    /// A command is run for each, so many at the same time.
    Run(Program, usize),
}

/// Works off a subscription, over any number of streams.
pub struct Consumer {
    work: Work,
    line: Line,
    /// Where to put requests; none while there is no stream.
    requests: Option<Requests>,
    outbox: Outbox,
    leases: Leases,
    ack_deadline: Duration,
    /// Delivered and not begun.
    waiting: VecDeque<Delivery>,
    running: JoinSet<Finished>,
    /// How much may be outstanding, and how much the broker was told of it: no more than is still to be settled.
    window: u32,
    open: u32,
    /// How many are to be settled, and how many are.
    count: Option<u64>,
    settled: u64,
    /// The person was told that there is no stream, and not that there is one again.
    broken: bool,
    stage: Stage,
}

/// What it is about.
enum Stage {
    Working,
    /// Nothing is begun any more.
    Stopping {
        why: Why,
        /// Since when there is nothing left to do but to hear the stream's end.
        done: Option<Instant>,
    },
}

/// Why it stops.
enum Why {
    /// As many are settled as were asked for.
    Counted,
    /// The person has had enough.
    Interrupted,
    /// It cannot go on.
    Failed(anyhow::Error),
}

/// A command that is over.
struct Finished {
    sequence: u64,
    /// Which message, for a person.
    what: String,
    outcome: io::Result<Outcome>,
}

impl Consumer {
    /// Begins nothing yet. `window` is how much may be outstanding, `count` how many are to be settled.
    pub fn new(work: Work, mut line: Line, window: u32, count: Option<u64>) -> Self {
        let open = narrowed(window, count.unwrap_or(u64::MAX));
        line.window(open);
        Consumer {
            work,
            line,
            requests: None,
            outbox: Outbox::default(),
            leases: Leases::default(),
            ack_deadline: ACK_DEADLINE,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            window,
            open,
            count,
            settled: 0,
            broken: false,
            stage: Stage::Working,
        }
    }

    /// Goes on until the person has had enough, as many are settled as were asked for, or it cannot go on.
    pub async fn run(mut self, interrupt: Interrupt) -> anyhow::Result<()> {
        let (mut first, mut second) = (interrupt.clone(), interrupt);
        let mut hurried = false;
        loop {
            self.begin();
            if self.is_over() {
                break;
            }
            let (extend, give_up) = (self.leases.next_due(), self.give_up_at());
            tokio::select! {
                biased;
                () = second.wait_for(2), if !hurried => {
                    hurried = true;
                    self.abandon().await;
                }
                () = first.wait(), if matches!(self.stage, Stage::Working) => self.interrupted(),
                Some(finished) = self.running.join_next() => self.finish(finished),
                () = until(extend) => self.extend(),
                () = send(self.requests.as_ref(), &mut self.outbox) => {}
                event = self.line.next() => self.hear(event),
                () = until(give_up) => {
                    self.lose();
                    self.fail(Failure::new("the broker did not end the stream: what it did not take comes again"));
                }
            }
        }
        match self.stage {
            Stage::Stopping { why: Why::Failed(error), .. } => Err(error),
            _ => Ok(()),
        }
    }

    /// Begins what fits.
    fn begin(&mut self) {
        let Stage::Working = self.stage else { return };
        match &self.work {
            Work::Print(..) => self.print(),
            Work::Run(program, jobs) => {
                let most = self.left().min(*jobs as u64);
                while (self.running.len() as u64) < most {
                    let Some(delivery) = self.waiting.pop_front() else { break };
                    self.running.spawn(finished(program.clone(), delivery));
                }
            }
        }
        if self.left() == 0 {
            self.stop(Why::Counted);
        }
    }

    /// Prints what waits, and acknowledges it.
    fn print(&mut self) {
        let count = self.waiting.len().min(self.left().try_into().unwrap_or(usize::MAX));
        let Work::Print(form, out) = &mut self.work else { return };
        if count == 0 {
            return;
        }
        let printed =
            self.waiting.iter().take(count).try_for_each(|delivery| With::Nothing.write(out, *form, delivery));
        if let Err(error) = printed.and_then(|()| out.flush()) {
            return self.stop(Why::Failed(error.into()));
        }
        for delivery in self.waiting.drain(..count).collect::<Vec<_>>() {
            self.settle(sequence(&delivery), Verdict::Ack, String::new());
        }
    }

    /// A command is over.
    fn finish(&mut self, finished: Result<Finished, JoinError>) {
        // One that was aborted was given back then.
        let Ok(Finished { sequence, what, outcome }) = finished else { return };
        match outcome {
            Ok(Outcome::Done) => self.settle(sequence, Verdict::Ack, String::new()),
            Ok(Outcome::Failed(cause)) => {
                eprintln!("{what}: {cause}");
                self.settle(sequence, Verdict::Nack, cause.to_string());
            }
            Err(error) => {
                self.release(sequence);
                if let Work::Run(program, _) = &self.work {
                    self.fail(Failure::new(format!("{} cannot be run: {error}", program.name())));
                }
            }
        }
    }

    /// The work on a message is done.
    fn settle(&mut self, sequence: u64, verdict: Verdict, reason: String) {
        match self.leases.settle(sequence) {
            Some(ack_id) => {
                self.settled += 1;
                self.outbox.settle(ack_id, verdict, reason);
                self.narrow();
            }
            None => eprintln!("sequence {sequence} was not settled, as its lease was lost: it comes, or came, again"),
        }
    }

    /// Gives a message back.
    fn release(&mut self, sequence: u64) {
        if let Some(ack_id) = self.leases.settle(sequence) {
            self.outbox.settle(ack_id, Verdict::Release, String::new());
        }
    }

    /// Commands take their time.
    fn extend(&mut self) {
        let ack_ids = self.leases.extend(Instant::now(), self.ack_deadline);
        self.outbox.extend(ack_ids, self.ack_deadline);
    }

    /// How many are still to be settled.
    fn left(&self) -> u64 {
        self.count.map_or(u64::MAX, |count| count.saturating_sub(self.settled))
    }

    /// Lets no more be outstanding than is still to be settled.
    fn narrow(&mut self) {
        let open = narrowed(self.window, self.left());
        if open != mem::replace(&mut self.open, open) {
            self.line.window(open);
            self.outbox.window(open);
        }
    }
}

/// What is heard of the broker.
impl Consumer {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Begun(requests) => {
                self.requests = Some(requests);
                if mem::take(&mut self.broken) {
                    eprintln!("connected again");
                }
            }
            Event::Said(response) => self.take(*response),
            Event::Ended(fault) => self.ended(fault.as_ref()),
            Event::Failed(fault) => {
                self.lose();
                self.fail(self.line.remote().failure(fault));
            }
        }
    }

    fn take(&mut self, response: ConsumeResponse) {
        let ConsumeResponse { deliveries, confirmations, attached, closing, gap, .. } = response;
        if let Some(deadline) = attached.and_then(|Attached { ack_deadline, .. }| ack_deadline?.try_into().ok()) {
            self.ack_deadline = deadline;
        }
        if let Some(gap) = &gap {
            eprintln!("{}", gap::sentence(gap, gap::FULL));
        }
        confirmations.iter().filter(|confirmation| confirmation.code != 0).for_each(|refused| self.refused(refused));
        deliveries.into_iter().for_each(|delivery| self.hold(delivery));
        if closing.is_some() {
            // The stream ends soon: others can begin these earlier.
            self.release_waiting();
        }
    }

    fn hold(&mut self, delivery: Delivery) {
        let sequence = sequence(&delivery);
        let deadline = delivery.ack_deadline.and_then(time_left).unwrap_or(self.ack_deadline);
        let is_new = self.leases.take(sequence, delivery.ack_id.clone(), Instant::now(), deadline);
        match self.stage {
            // Its command still runs, and settles it by its new name.
            _ if !is_new => {}
            Stage::Working => self.waiting.push_back(delivery),
            Stage::Stopping { .. } => self.release(sequence),
        }
    }

    /// The broker did not take settlements.
    fn refused(&mut self, refused: &Confirmation) {
        let held = refused.ack_ids.iter().filter(|ack_id| self.leases.lose(ack_id)).count();
        // Those that are still held were to be extended; the others were settled, and counted.
        self.settled = self.settled.saturating_sub((refused.ack_ids.len() - held) as u64);
        self.narrow();
        let settlements = output::count(refused.ack_ids.len() as u64, "settlement");
        eprintln!("{settlements} refused ({}): what they were for comes, or came, again", on_its_line(&refused.reason));
    }

    /// The stream is over.
    fn ended(&mut self, fault: Option<&Fault>) {
        self.lose();
        match (&self.stage, fault) {
            (Stage::Working, _) if self.broken => {}
            (Stage::Working, fault) => {
                self.broken = true;
                let why = match fault {
                    Some(fault) if fault.reason.as_deref() != Some("DRAINING") => fault.to_string(),
                    _ => "the broker ended the stream".to_owned(),
                };
                eprintln!("disconnected: {why}; trying until a broker answers, to go on there; Ctrl-C ends it");
            }
            // Not all of them were taken in the end.
            (Stage::Stopping { why: Why::Counted, .. }, None) if self.left() > 0 => self.stage = Stage::Working,
            (Stage::Stopping { .. }, _) => self.line.close(),
        }
    }

    /// Nothing is held on this stream any more. What runs goes on, as it may come again before it ends.
    fn lose(&mut self) {
        self.requests = None;
        self.outbox.clear();
        self.leases.lose_all();
        for delivery in mem::take(&mut self.waiting) {
            self.leases.settle(sequence(&delivery));
        }
    }
}

/// How it ends.
impl Consumer {
    fn stop(&mut self, why: Why) {
        match &mut self.stage {
            Stage::Stopping { why: first @ (Why::Counted | Why::Interrupted), .. } => *first = why,
            Stage::Stopping { .. } => {}
            Stage::Working => self.stage = Stage::Stopping { why, done: None },
        }
        self.release_waiting();
        self.outbox.detach();
    }

    fn interrupted(&mut self) {
        self.stop(Why::Interrupted);
        if !self.running.is_empty() {
            let commands = output::count(self.running.len() as u64, "command");
            eprintln!("waiting for {commands} to end; a second signal kills what runs");
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.stop(Why::Failed(failure.into()));
    }

    fn release_waiting(&mut self) {
        for delivery in mem::take(&mut self.waiting) {
            self.release(sequence(&delivery));
        }
    }

    /// The person is in a hurry: commands are killed, and their messages given back.
    async fn abandon(&mut self) {
        self.stop(Why::Interrupted);
        self.running.shutdown().await;
        for ack_id in self.leases.settle_all() {
            self.outbox.settle(ack_id, Verdict::Release, String::new());
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Stopping { .. }) && self.running.is_empty() && self.requests.is_none()
    }

    /// When the broker has had enough time to end the stream.
    fn give_up_at(&mut self) -> Option<Instant> {
        let quiet = self.running.is_empty() && self.outbox.is_empty();
        let Stage::Stopping { done, .. } = &mut self.stage else { return None };
        match quiet {
            true => Some(*done.get_or_insert_with(Instant::now) + END_WITHIN),
            false => None,
        }
    }
}

/// Runs a command, and says how it ended.
async fn finished(program: Program, delivery: Delivery) -> Finished {
    let (sequence, topic) = (sequence(&delivery), delivery.message.as_ref().map_or("", |message| &message.topic));
    let what = format!("{} {sequence}, attempt {}", on_its_line(topic), delivery.attempt);
    Finished { sequence, what, outcome: program.run(delivery).await }
}

/// Sends what is to be said, if there is something and somebody hears it. Dropped before it ends it changes nothing.
async fn send(requests: Option<&Requests>, outbox: &mut Outbox) {
    if let (Some(requests), false) = (requests, outbox.is_empty())
        && let Ok(permit) = requests.reserve().await
    {
        return permit.send(outbox.request());
    }
    // Why a stream hears nothing more, it tells itself.
    future::pending().await
}

/// As much as may be outstanding, where no more than `left` are to be settled.
fn narrowed(window: u32, left: u64) -> u32 {
    window.min(left.try_into().unwrap_or(u32::MAX))
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => time::sleep_until(time).await,
        None => future::pending().await,
    }
}

fn sequence(delivery: &Delivery) -> u64 {
    delivery.message.as_ref().map_or(0, |message| message.sequence)
}

/// How long it is until then.
fn time_left(then: prost_types::Timestamp) -> Option<Duration> {
    let nanos = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (seconds, fraction) = SystemClock.now().parts();
    let left = nanos(then.seconds, then.nanos) - nanos(seconds, fraction);
    Some(Duration::from_nanos(left.max(0).try_into().ok()?))
}

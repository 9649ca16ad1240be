//! Takes deliveries, has them worked on, and settles each when its work is done. A message is acknowledged only after
//! that; whatever else happens, it comes again.

use std::{
    collections::{BTreeMap, VecDeque},
    future,
    io::{self, BufWriter, StdoutLock, Write as _},
    mem,
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::{self, Instant},
};

use crate::{
    apps::{
        delivery::With,
        failure::Failure,
        gap,
        interrupt::Interrupt,
        message::{Form, on_its_line},
        output,
        program::{Outcome, Program},
        remote::Remote,
    },
    client::{Consume, Consumer, Delivery, Fate, Fault, Settling},
    pb::v1,
};

/// How long the broker may take to confirm what is settled and to end the stream.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that may be outstanding: as many as the contract gives whoever does not ask.
const WINDOW_BYTES: u64 = 4 << 20;

/// What is done with messages.
pub enum Work {
    /// They are printed.
    Print(Form, BufWriter<StdoutLock<'static>>),
    /// A command is run for each, so many at the same time.
    Run(Program, usize),
}

/// Works off a subscription.
pub struct Worker {
    work: Work,
    remote: Remote,
    consumer: Consumer,
    /// Printed, and perhaps not seen yet.
    printed: Vec<Delivery>,
    /// What commands run for, by sequence.
    held: BTreeMap<u64, Delivery>,
    running: JoinSet<Finished>,
    /// What the broker has not confirmed.
    settling: VecDeque<Settling>,
    /// How much may be outstanding, and how much the broker was told of it: no more than is still to be settled.
    window: u32,
    open: u32,
    /// How many are to be settled, and how many are.
    count: Option<u64>,
    settled: u64,
    /// How many commands failed.
    failed: u64,
    /// The person was told that there is no stream, and not that there is one again.
    broken: bool,
    stage: Stage,
    /// Nothing more is heard of the broker.
    ended: bool,
}

/// What it is about.
enum Stage {
    Working,
    /// Nothing is begun any more.
    Stopping {
        why: Why,
        /// Since when there is nothing left to do but to hear what the broker says.
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
    outcome: io::Result<Outcome>,
}

impl Worker {
    /// Begins. `window` is how much may be outstanding, `count` how many are to be settled.
    pub fn new(work: Work, consume: Consume, window: u32, count: Option<u64>, remote: Remote) -> Self {
        let open = narrowed(window, count.unwrap_or(u64::MAX));
        Worker {
            work,
            remote,
            consumer: consume.window(open, WINDOW_BYTES).start(),
            printed: Vec::new(),
            held: BTreeMap::new(),
            running: JoinSet::new(),
            settling: VecDeque::new(),
            window,
            open,
            count,
            settled: 0,
            failed: 0,
            broken: false,
            stage: Stage::Working,
            ended: false,
        }
    }

    /// Goes on until the person has had enough, as many are settled as were asked for, or it cannot go on.
    pub async fn run(mut self, interrupt: Interrupt) -> anyhow::Result<()> {
        let (mut first, mut second) = (interrupt.clone(), interrupt);
        let (mut trouble, mut gap) = (self.consumer.trouble(), self.consumer.gap());
        let mut hurried = false;
        while !(self.ended && self.running.is_empty()) {
            let (takes, give_up) = (self.takes(), self.give_up_at());
            tokio::select! {
                biased;
                () = second.wait_for(2), if !hurried => {
                    hurried = true;
                    self.abandon().await;
                }
                () = first.wait(), if self.is_working() => self.interrupted(),
                Some(finished) = self.running.join_next() => self.finish(finished),
                settled = next(&mut self.settling) => self.settled(settled),
                Ok(()) = trouble.changed() => {
                    let fault = trouble.borrow_and_update().clone();
                    self.hear(fault);
                }
                Ok(()) = gap.changed() => {
                    let gap = *gap.borrow_and_update();
                    gap.iter().for_each(|gap| eprintln!("{}", gap::sentence(gap, gap::FULL)));
                }
                delivery = self.consumer.next(), if takes => match delivery {
                    Some(Ok(delivery)) => self.begin(delivery),
                    Some(Err(fault)) => self.lose(self.remote.failure(fault)),
                    None => self.ended = true,
                },
                // Nothing more is there to be printed with it.
                () = future::ready(()), if !self.printed.is_empty() => self.flush(),
                () = until(give_up) => {
                    self.lose(Failure::new("the broker did not end the stream: what it did not take comes again"));
                }
            }
        }
        match self.stage {
            Stage::Stopping { why: Why::Failed(error), .. } => Err(error),
            Stage::Stopping { why: Why::Counted, .. } if self.failed > 0 => {
                let commands = output::count(self.failed, "command");
                Err(Failure::in_part(format!("{commands} failed: what failed comes again, or is a dead letter")).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether another message can be begun; and once nothing is begun any more, whether the end can be heard.
    fn takes(&self) -> bool {
        let fits = match &self.work {
            Work::Print(..) => true,
            Work::Run(_, jobs) => self.running.len() < *jobs,
        };
        !self.ended && (!self.is_working() || fits && self.left() > 0)
    }

    fn begin(&mut self, mut delivery: Delivery) {
        let message = mem::take(&mut delivery.message);
        let (sequence, attempt) = (message.sequence, delivery.attempt);
        // For a person, afterwards.
        delivery.message.topic.clone_from(&message.topic);
        match &mut self.work {
            Work::Print(form, out) => {
                self.printed.push(delivery);
                let whole = v1::Delivery { message: Some(message), attempt, ..v1::Delivery::default() };
                if let Err(error) = With::Nothing.write(out, *form, &whole) {
                    self.unprinted(error);
                }
            }
            Work::Run(program, _) => {
                let program = program.clone();
                self.held.insert(sequence, delivery);
                self.running.spawn(async move { Finished { sequence, outcome: program.run(message, attempt).await } });
            }
        }
    }

    /// Acknowledges what is printed, once it can be seen.
    fn flush(&mut self) {
        let Work::Print(_, out) = &mut self.work else { return };
        if let Err(error) = out.flush() {
            return self.unprinted(error);
        }
        for delivery in mem::take(&mut self.printed) {
            self.settle(delivery.ack());
        }
    }

    /// Nothing can be printed any more.
    fn unprinted(&mut self, error: io::Error) {
        for delivery in mem::take(&mut self.printed) {
            drop(delivery.release());
        }
        self.stop(Why::Failed(error.into()));
    }

    /// A command is over.
    fn finish(&mut self, finished: Result<Finished, JoinError>) {
        // One that was aborted was given back then.
        let Ok(Finished { sequence, outcome }) = finished else { return };
        let Some(delivery) = self.held.remove(&sequence) else { return };
        match outcome {
            Ok(Outcome::Done) => self.settle(delivery.ack()),
            Ok(Outcome::Failed(cause)) => {
                let topic = on_its_line(&delivery.message.topic);
                eprintln!("{topic} {sequence}, attempt {}: {cause}", delivery.attempt);
                self.failed += 1;
                self.settle(delivery.nack(None, cause.to_string()));
            }
            Err(error) => {
                drop(delivery.release());
                if let Work::Run(program, _) = &self.work {
                    let message = format!("{} cannot be run: {error}", program.name());
                    self.stop(Why::Failed(Failure::new(message).into()));
                }
            }
        }
    }

    /// The work on a message is done.
    fn settle(&mut self, settling: Settling) {
        self.settling.push_back(settling);
        self.narrow();
    }

    /// The broker has said what became of a settlement.
    fn settled(&mut self, settled: Result<(), Fault>) {
        match settled {
            Ok(()) => self.settled += 1,
            // By the same settlement, before the stream broke.
            Err(fault) if is_settled(&fault) => self.settled += 1,
            Err(fault) => eprintln!("a settlement was not taken: {}", on_its_line(&fault.to_string())),
        }
        self.narrow();
        if self.is_working() && self.count.is_some_and(|count| self.settled >= count) {
            self.stop(Why::Counted);
        }
    }

    /// How many are still to be begun.
    fn left(&self) -> u64 {
        self.unsettled().saturating_sub((self.running.len() + self.printed.len()) as u64)
    }

    /// How many are to be settled yet, if all that the broker has not confirmed is taken.
    fn unsettled(&self) -> u64 {
        let said = self.settled + self.settling.len() as u64;
        self.count.map_or(u64::MAX, |count| count.saturating_sub(said))
    }

    /// Lets no more be outstanding than is still to be settled.
    fn narrow(&mut self) {
        let open = narrowed(self.window, self.unsettled());
        if open != mem::replace(&mut self.open, open) {
            self.consumer.set_window(open, WINDOW_BYTES);
        }
    }

    /// The stream broke, or there is one again.
    fn hear(&mut self, trouble: Option<Fault>) {
        match trouble {
            None => {
                if mem::take(&mut self.broken) {
                    eprintln!("connected again");
                }
            }
            // Once the broker has answered it is worth coming back.
            Some(fault) if !self.consumer.has_begun() => self.lose(self.remote.failure(fault)),
            Some(fault) => {
                if self.is_working() && !mem::replace(&mut self.broken, true) {
                    let why = match fault.reason.as_deref() {
                        Some("DRAINING") => "the broker ended the stream".to_owned(),
                        _ => fault.to_string(),
                    };
                    eprintln!("disconnected: {why}; trying until a broker answers, to go on there; Ctrl-C ends it");
                }
            }
        }
    }
}

/// How it ends.
impl Worker {
    fn is_working(&self) -> bool {
        matches!(self.stage, Stage::Working)
    }

    fn stop(&mut self, why: Why) {
        match &mut self.stage {
            Stage::Working => self.stage = Stage::Stopping { why, done: None },
            Stage::Stopping { why: first @ (Why::Counted | Why::Interrupted), .. } => *first = why,
            Stage::Stopping { .. } => {}
        }
        self.consumer.detach();
    }

    fn interrupted(&mut self) {
        self.stop(Why::Interrupted);
        if !self.running.is_empty() {
            let commands = output::count(self.running.len() as u64, "command");
            eprintln!("waiting for {commands} to end; a second signal kills what runs");
        }
    }

    /// The person is in a hurry: commands are killed, and their messages given back.
    async fn abandon(&mut self) {
        self.stop(Why::Interrupted);
        self.running.shutdown().await;
        for (_, delivery) in mem::take(&mut self.held) {
            drop(delivery.release());
        }
    }

    /// The broker is not heard any more. Commands that run are waited for nevertheless.
    fn lose(&mut self, failure: Failure) {
        self.stop(Why::Failed(failure.into()));
        self.ended = true;
    }

    /// When the broker has had enough time to end the stream.
    fn give_up_at(&mut self) -> Option<Instant> {
        let quiet = self.running.is_empty() && !self.ended;
        let Stage::Stopping { done, .. } = &mut self.stage else { return None };
        quiet.then(|| *done.get_or_insert_with(Instant::now) + END_WITHIN)
    }
}

/// What became of the oldest settlement, if there is one. Dropped before it ends it changes nothing.
async fn next(settling: &mut VecDeque<Settling>) -> Result<(), Fault> {
    let Some(oldest) = settling.front_mut() else { return future::pending().await };
    let settled = oldest.await;
    settling.pop_front();
    settled
}

/// Whether a settlement whose answer was lost was taken, or another one in its place.
fn is_settled(fault: &Fault) -> bool {
    fault.reason.as_deref() == Some("ALREADY_SETTLED") && fault.fate == Fate::Unknown
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

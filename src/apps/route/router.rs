//! The loop between the source and the destinations: reads events, hands them to lanes, and has them settled once they are
//! durable. Never waits for a destination.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use serde::Serialize;
use tokio::{
    signal::unix::Signal,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};
use tokio_stream::Stream as _;

use super::{
    event::{Event, unframed},
    lane::{Held, Outcome, Report},
    measures::{Dead, Measures},
    readers::{Readers, Unread},
    routes::{self, Prepared, Routes},
    settings::{Flags, Settings},
    settler::Settler,
};
use crate::{
    apps::{
        failure::Failure, gap, interrupt::Interrupt, journal::Journal, level::Level, message::on_its_line, output,
        patience::Patience, registry::Registry, remote::Remote,
    },
    client::{Client, Consumer, Delivery, Fault},
    clock::{Clock as _, SystemClock},
    schema::RecordReader,
};

/// Events that are taken before it is looked at anything else.
const TOGETHER: usize = 512;
/// When events come again whose lane is stuck, with more than its share.
const CROWDED: Duration = Duration::from_secs(1);
/// Characters of a reason, as many as are kept with a dead letter.
const REASON: usize = 255;
/// How long the broker may take to confirm what was said after the router was stopped.
const LAST: Duration = Duration::from_secs(30);
/// How long the registry may take when destinations are read again.
const RELOAD_WITHIN: Duration = Duration::from_secs(10);

/// What is needed for it.
pub struct Parts {
    /// What the router was told.
    pub settings: Settings,
    /// From where destinations are read again.
    pub flags: Flags,
    /// For what a person is told.
    pub remote: Remote,
    /// Connects.
    pub client: Client,
    /// Has the schemas.
    pub registry: Registry,
    /// Counts.
    pub measures: Measures,
    /// The log.
    pub journal: Journal,
}

/// Routes events.
pub struct Router {
    parts: Parts,
    consumer: Consumer,
    readers: Readers,
    routes: Routes,
    reports: UnboundedReceiver<Report>,
    settler: Settler,
    /// What came of reading destinations again.
    reloaded: (UnboundedSender<Reloaded>, UnboundedReceiver<Reloaded>),
    stopping: Option<Instant>,
    /// Nothing more is heard of the broker.
    ended: bool,
}

type Reloaded = Result<Vec<Prepared>, String>;

/// What the log says of an event.
#[derive(Serialize)]
struct Line<'a> {
    event: u64,
    verdict: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ordering_key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

impl Router {
    /// Begins to read.
    pub fn start(parts: Parts, input: (u32, RecordReader), prepared: Vec<Prepared>) -> Router {
        let Parts { settings, client, registry, measures, journal, .. } = &parts;
        let consume = client
            .consume(&settings.group_id)
            .consumer_id(&settings.processor_id)
            .in_order()
            .keep_leases(Duration::MAX);
        let consume = consume.window(settings.max_in_flight, WINDOW_BYTES);
        let (send, reports) = unbounded_channel();
        let mut routes = Routes::new(client.clone(), send, measures.clone());
        routes.change(prepared);
        let settler = Settler::start(settings.batch, settings.interval, measures.clone(), journal.clone());
        Router {
            consumer: consume.start(),
            readers: Readers::new(registry.clone(), journal.clone(), input),
            routes,
            reports,
            settler,
            reloaded: unbounded_channel(),
            stopping: None,
            ended: false,
            parts,
        }
    }

    /// Goes on until it is stopped, or cannot go on. At each `hangup` it reads its destinations again.
    pub async fn run(mut self, interrupt: Interrupt, mut hangup: Signal) -> anyhow::Result<()> {
        let (mut first, mut second) = (interrupt.clone(), interrupt);
        let (mut trouble, mut gap) = (self.consumer.trouble(), self.consumer.gap());
        let mut broken = false;
        while !self.ended {
            let (due, last) = (self.settler.due(), self.stopping);
            tokio::select! {
                biased;
                () = second.wait_for(2) => match self.routes.waiting() {
                    0 => break,
                    _ => return Err(self.left("it was stopped in a hurry").into()),
                },
                () = first.wait(), if self.stopping.is_none() => self.stop(),
                Some(report) = self.reports.recv() => self.account(report),
                () = at(due) => self.settler.settle(),
                () = at(last) => return Err(self.left("the broker did not confirm in time").into()),
                Some(()) = heard(&mut hangup), if self.stopping.is_none() => self.read_again(),
                Some(reloaded) = self.reloaded.1.recv() => self.change(reloaded),
                Ok(()) = trouble.changed() => {
                    let fault = trouble.borrow_and_update().clone();
                    self.tell_trouble(fault.as_ref(), &mut broken);
                }
                Ok(()) = gap.changed() => {
                    let gap = *gap.borrow_and_update();
                    gap.iter().for_each(|gap| self.parts.journal.warn(&gap::sentence(gap, gap::FULL)));
                }
                next = self.consumer.next() => self.take(next).await?,
            }
        }
        self.settler.close().await;
        Ok(())
    }

    /// Routes what has come.
    async fn take(&mut self, next: Option<Result<Delivery, Fault>>) -> anyhow::Result<()> {
        let mut next = Some(next);
        let mut taken = 0;
        while let Some(came) = next.take() {
            match came {
                Some(Ok(delivery)) => self.route(delivery).await,
                Some(Err(fault)) => return Err(self.parts.remote.failure(fault).into()),
                None => {
                    self.ended = true;
                    break;
                }
            }
            taken += 1;
            if taken < TOGETHER {
                next = poll_fn(|cx| {
                    Poll::Ready(match Pin::new(&mut self.consumer).poll_next(cx) {
                        Poll::Ready(came) => Some(came),
                        Poll::Pending => None,
                    })
                })
                .await;
            }
        }
        self.parts.measures.processed(taken as u64);
        self.routes.measure();
        Ok(())
    }

    async fn route(&mut self, delivery: Delivery) {
        let (id, payload) = match unframed(&delivery.message) {
            Ok(named) => named,
            Err(why) => return self.reject(Dead::Payload, &why, delivery),
        };
        let reader = match self.readers.of(id).await {
            Ok(reader) => reader,
            Err(Unread::Useless(why)) => return self.reject(Dead::Schema, &why, delivery),
            Err(Unread::Later(wait)) => return drop(delivery.release_after(wait)),
        };
        let event = match Event::read(reader, payload) {
            Ok(event) => event,
            Err(violation) => {
                let why = format!("it is not as schema {id} says: {violation}");
                return self.reject(Dead::Payload, &why, delivery);
            }
        };
        let destination = event.destination();
        let Some(lane) = self.routes.lane(&destination) else {
            let why = format!("no destination {destination:?} is configured");
            return self.reject(Dead::Destination, &why, delivery);
        };
        // What a lane has waits in this router's window: none that gets nowhere may fill it.
        let share = (self.parts.settings.max_in_flight as usize / (self.routes.count() + 1)).max(1);
        if lane.waiting() >= share && lane.is_stuck() {
            self.parts.measures.returned(lane.name(), 1);
            return drop(delivery.release_after(CROWDED));
        }
        let now = millis();
        let request = event.sent_on(&lane.output, &destination, &self.parts.settings.processor_id, now);
        let time = event.time;
        lane.send(Held::new(delivery, &request.ordering_key, time), request);
    }

    fn reject(&self, why: Dead, reason: &str, delivery: Delivery) {
        let sequence = delivery.message.sequence;
        // It may tell of names that have any length.
        let reason: String = reason.chars().take(REASON).collect();
        let line = Line { event: sequence, verdict: "INVALID", ordering_key: "", topic: "", reason: &reason };
        let words = || format!("[INVALID] event {sequence}: {}", on_its_line(&reason));
        self.parts.journal.record(Level::Warning, &line, words);
        self.parts.measures.dead_lettered(why);
        drop(delivery.reject(reason));
    }

    /// Events have arrived, or not.
    fn account(&mut self, report: Report) {
        let Report { destination, outcomes, returned, change } = report;
        if let (Some(returned), Some(lane)) = (returned, self.routes.lane(&destination)) {
            lane.know(returned);
        }
        let (mut sent, mut back) = (0, 0);
        for outcome in outcomes {
            match outcome {
                Outcome::Sent(held) => {
                    // An event may say of itself that it happened at any time.
                    let lag = u64::try_from(millis().saturating_sub(held.time)).unwrap_or_default();
                    self.parts.measures.lag(Duration::from_millis(lag));
                    sent += 1;
                    self.tell_sent(&held, &destination);
                    self.settler.push(held);
                }
                Outcome::Rejected(held, why) => self.reject(Dead::Message, &why, held.delivery),
                Outcome::Back(held, wait) => {
                    back += 1;
                    drop(held.delivery.release_after(wait));
                }
            }
        }
        if sent > 0 {
            self.parts.measures.delivered(&destination, sent);
        }
        if back > 0 {
            self.parts.measures.returned(&destination, back);
        }
        if let Some(change) = change {
            self.parts.measures.refuses(&destination, change.is_err());
            match change {
                Ok(()) => self.parts.journal.info(&format!("destination {destination} takes events again")),
                Err(why) => self.parts.journal.warn(&format!(
                    "destination {destination} takes no events: {why}; they wait at the source, and others go on"
                )),
            }
        }
        self.routes.measure();
        if self.stopping.is_some() {
            self.settler.settle();
        }
    }

    fn tell_sent(&self, held: &Held, destination: &Arc<str>) {
        let journal = &self.parts.journal;
        if journal.has(Level::Debug) {
            let (event, ordering_key) = (held.delivery.message.sequence, held.key.as_str());
            let topic = self.routes.lane(destination).map_or("", |lane| &lane.output.topic);
            let line = Line { event, verdict: "VALID", ordering_key, topic, reason: "" };
            let words = || format!("[VALID] event {event}, key {}, to {topic}", on_its_line(ordering_key));
            journal.record(Level::Debug, &line, words);
        }
    }

    /// Takes nothing more, and finishes what it has.
    fn stop(&mut self) {
        let waiting = output::count(self.routes.waiting() as u64, "event");
        self.parts.journal.info(&format!("stopping: {waiting} under way"));
        self.stopping = Some(Instant::now() + LAST);
        self.consumer.detach();
        self.settler.settle();
    }

    /// Reads the destinations again, beside all else.
    fn read_again(&self) {
        let Some(read) = self.parts.flags.read_again() else {
            return self
                .parts
                .journal
                .warn("SIGHUP: there is no file with destinations to read again: name one as --config");
        };
        let (registry, tell) = (self.parts.registry.clone(), self.reloaded.0.clone());
        tokio::spawn(async move {
            let reloaded = match read {
                Ok(destinations) => {
                    let prepared = routes::prepare(&registry, destinations, &mut Patience::new(RELOAD_WITHIN)).await;
                    prepared.map_err(|refusal| refusal.to_string())
                }
                Err(failure) => Err(failure.to_string()),
            };
            // Nobody wants to know if the router has ended meanwhile.
            let _ = tell.send(reloaded);
        });
    }

    fn change(&mut self, reloaded: Reloaded) {
        let journal = &self.parts.journal;
        match reloaded {
            Ok(prepared) => match self.routes.change(prepared) {
                changes if changes.is_empty() => {
                    journal.info("destinations were read again: nothing has changed");
                }
                changes => {
                    journal.info(&format!("destinations were read again: {}", changes.join("; ")));
                }
            },
            Err(why) => journal.error(&format!("destinations stay as they were: {why}")),
        }
    }

    fn tell_trouble(&self, fault: Option<&Fault>, broken: &mut bool) {
        match fault {
            Some(fault) if !*broken => {
                self.parts
                    .journal
                    .warn(&format!("disconnected: {fault}; trying until a broker answers, to go on there"));
            }
            None if *broken => self.parts.journal.info("connected again"),
            _ => {}
        }
        *broken = fault.is_some();
    }

    /// What is told of what was not finished.
    fn left(&self, why: &str) -> Failure {
        let waiting = output::count(self.routes.waiting() as u64, "event");
        Failure::new(format!("{why}: {waiting} may have been sent on without being settled, and come again"))
    }
}

/// Bytes of events that are under way: as many as the contract allows, so that their number is what counts.
const WINDOW_BYTES: u64 = 256 << 20;

fn millis() -> i64 {
    let (seconds, nanos) = SystemClock.now().parts();
    seconds * 1_000 + i64::from(nanos) / 1_000_000
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn heard(signal: &mut Signal) -> Option<()> {
    signal.recv().await
}

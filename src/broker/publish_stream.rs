//! A stream of messages coming in. It is driven by whoever polls it: what was handed over since the last time is appended
//! at once, as one piece, and what the log answered comes back as runs. There is no task and no channel behind it; what
//! waits is bounded, and a publisher that is too fast is not read any further.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::{sync::OwnedSemaphorePermit, task::coop, time::Instant};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Broker, Closing, Heartbeat, Publish,
    pulse::{self, Pulse},
    served::{Admission, Served},
};
use crate::{
    engine::{Appended, Batch, BoxFuture, OutcomeRun, Outcomes, Receipt, Session, refusal},
    model::{Durability, Error, NamespaceName, ProducerName, Reason, Result, Sequence},
};

/// Messages and bytes in one piece, about: what is appended together. As much as the log writes at a time.
const PIECE_MESSAGES: usize = 8_192;
/// See [`PIECE_MESSAGES`].
const PIECE_BYTES: usize = 1 << 20;
/// Pieces of one stream that wait for the log. Beyond, what comes in gathers in the next one.
const PIECES: usize = 64;
/// Answers that one event carries, about. Beyond, nothing more is taken in before they are gone.
const ANSWERS: usize = 1_000;

/// What a publisher asks for when it opens a stream.
#[derive(Clone, Debug)]
pub struct OpenPublishStream {
    /// Where messages go that name no namespace; with a producer all of them.
    pub namespace: NamespaceName,
    /// Who numbers them, and the number of the first; zero is the next that is not used.
    pub producer: Option<(ProducerName, u64)>,
    /// How long the stream may be silent.
    pub heartbeat_interval: Duration,
}

/// What the broker says on the stream.
#[derive(Clone, Debug, Default)]
pub struct PublishEvent {
    /// What became of messages.
    pub answers: Vec<Answer>,
    /// In the first event, with a producer: its next number that is not used.
    pub next_number: Option<u64>,
    /// Where the stream would otherwise be silent.
    pub heartbeat: Option<Heartbeat>,
    /// Nothing more is taken on this stream.
    pub closing: Option<Closing>,
}

/// What became of some messages. They are counted from 0 as they were handed over.
#[derive(Clone, Debug)]
pub enum Answer {
    /// They were taken, one right after the other.
    Published(PublishedRun),
    /// One was refused.
    Refused {
        /// Which.
        request: u64,
        /// Why.
        error: Error,
    },
}

/// Messages that were taken one right after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedRun {
    /// The first of them.
    pub request: u64,
    /// How many.
    pub count: u64,
    /// The place of the first; zero if they are duplicates whose place nobody knows any more.
    pub sequence: Sequence,
    /// They had been published before.
    pub duplicate: bool,
    /// What the answer is worth.
    pub durability: Durability,
}

/// The stream itself. Dropping it is all the cleanup there is: what was appended stays, and nobody is told. Ends with
/// `None` where the publisher ended it, with an error (last) where the broker does.
pub struct PublishStream {
    broker: Arc<Broker>,
    served: Arc<Served>,
    session: Option<Arc<Session>>,
    // Ready when the broker drains, the namespace is gone, or another stream of the same producer has come.
    interrupted: Pin<Box<WaitForCancellationFutureOwned>>,
    // Of the next message: its number, and its place on the stream.
    number: u64,
    request: u64,
    // What was handed over; the last one takes more.
    pieces: VecDeque<Piece>,
    // Room for the first of them, if there was none at once.
    room: Option<BoxFuture<'static, Result<OwnedSemaphorePermit>>>,
    // What the log has.
    waiting: VecDeque<Waiting>,
    // Of which namespace the last answers were: a run has but one.
    answered: Option<NamespaceName>,
    // Refusals that wait with the pieces.
    refused: usize,
    event: PublishEvent,
    pulse: Pulse,
    // It was interrupted: nothing more is taken in.
    stopped: bool,
    closing: bool,
    end: Option<Result<()>>,
    over: bool,
    // Last, so that the stream counts as open until everything else of it is gone.
    admission: Admission,
}

impl Broker {
    /// Opens a stream. With a producer, it ends the one that the producer had before, and its first event says which
    /// number comes next.
    pub async fn open_publish_stream(self: &Arc<Self>, open: OpenPublishStream) -> Result<PublishStream> {
        self.refuse_while_draining()?;
        pulse::check_interval(open.heartbeat_interval)?;
        let served = self.served(&open.namespace)?;
        let admission = served.admit(&self.shared)?;
        let interruption = admission.place.closing.child_token();
        let interrupted = Box::pin(interruption.clone().cancelled_owned());
        let mut event = PublishEvent::default();
        let (mut session, mut number) = (None, 0);
        if let Some((producer, first)) = open.producer {
            let begun = Arc::new(Session { producer, replaced: interruption });
            let next = admission.place.log.attach(begun.clone()).await?;
            number = if first == 0 { next } else { first };
            if number > next {
                return Err(ahead(&begun.producer, number, next));
            }
            event.next_number = Some(next);
            session = Some(begun);
        }
        let jitter = self.shared.clock.jitter(open.heartbeat_interval);
        Ok(PublishStream {
            broker: self.clone(),
            served,
            session,
            interrupted,
            number,
            request: 0,
            pieces: VecDeque::new(),
            room: None,
            waiting: VecDeque::new(),
            answered: None,
            refused: 0,
            event,
            pulse: Pulse::new(open.heartbeat_interval, jitter),
            stopped: false,
            closing: false,
            end: None,
            over: false,
            admission,
        })
    }
}

impl PublishStream {
    /// Whether more may be handed over. If not, the stream must be polled first.
    pub fn has_room(&self) -> bool {
        let (messages, bytes) = self
            .pieces
            .iter()
            .fold((0, 0), |(messages, bytes), piece| (messages + piece.batch.len(), bytes + piece.batch.bytes()));
        let open = self.end.is_none() && !self.stopped && !self.over;
        open && messages < PIECE_MESSAGES && bytes < PIECE_BYTES && self.event.answers.len() + self.refused < ANSWERS
    }

    /// Hands over the next message. What could not even be parsed comes in as an error and goes out as its answer.
    pub fn publish(&mut self, publish: Result<Publish<'_>>) {
        let request = self.request;
        self.request += 1;
        if let Err(error) = publish.and_then(|publish| self.add(request, publish)) {
            self.refuse(request, error);
        }
        self.number += u64::from(self.session.is_some());
    }

    /// The next message has this number: what was refused before is sent again. Refused if it is beyond the one that would
    /// follow, as it could never be taken.
    pub fn renumber(&mut self, number: u64) -> Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        if number > self.number {
            return Err(ahead(&session.producer, number, self.number));
        }
        self.number = number;
        Ok(())
    }

    /// Nothing more comes. The stream ends when all is answered: well, or with this error.
    pub fn finish(&mut self, result: Result<()>) {
        self.end.get_or_insert(result);
    }

    /// Encodes a message into the last piece, or into a new one.
    fn add(&mut self, request: u64, mut publish: Publish<'_>) -> Result<()> {
        if self.session.is_some() {
            self.check_numbered(&publish)?;
        }
        let at = self.piece_for(publish.namespace.as_ref())?;
        let Piece { served, batch, requests, .. } = &mut self.pieces[at];
        self.broker.encode(served, batch, &mut publish)?;
        push_request(requests, request);
        Ok(())
    }

    /// A message was refused for good. If it has a number, that is not told before the log has passed over the number:
    /// else those behind it could never be taken.
    fn refuse(&mut self, request: u64, error: Error) {
        self.admission.place.metrics.refused_messages.inc();
        if self.session.is_some()
            && let Ok(at) = self.piece_for(None)
        {
            let Piece { batch, refused, .. } = &mut self.pieces[at];
            batch.skip_number();
            refused.push(Refused { request, number: self.number, error });
            self.refused += 1;
        } else {
            self.event.answers.push(Answer::Refused { request, error });
        }
    }

    fn check_numbered(&self, publish: &Publish<'_>) -> Result<()> {
        if !publish.message.message_id.is_empty() {
            let message =
                "a message of a stream with a producer_id has a number, and needs no message_id: leave it out";
            return Err(Error::new(Reason::RequestInvalid, message).field("message_id"));
        }
        let own = &self.served.settings.name;
        if let Some(other) = publish.namespace.as_ref().filter(|namespace| *namespace != own) {
            let message = format!(
                "the producer's stream goes to namespace {own}, not to {other}: open a stream for each namespace"
            );
            return Err(Error::new(Reason::RequestInvalid, message).field("namespace"));
        }
        Ok(())
    }

    /// The piece that takes the next message: the last one, if namespace and numbers go on there.
    fn piece_for(&mut self, namespace: Option<&NamespaceName>) -> Result<usize> {
        let namespace = namespace.unwrap_or(&self.served.settings.name);
        let fits = self.pieces.back().is_some_and(|piece| {
            let number = piece.batch.next_number();
            piece.served.settings.name == *namespace && number.is_none_or(|number| number == self.number)
        });
        // The first one has its room already, if it waits for any.
        if !fits || (self.room.is_some() && self.pieces.len() == 1) {
            let served = self.broker.served(namespace)?;
            let batch = Batch::new(Durability::Memory);
            let batch = match &self.session {
                Some(session) => batch.number(session.clone(), self.number),
                None => batch,
            };
            self.pieces.push_back(Piece { served, batch, requests: Vec::new(), refused: Vec::new() });
        }
        Ok(self.pieces.len() - 1)
    }

    /// Gives the logs what was handed over, as far as there is room.
    fn poll_append(&mut self, cx: &mut Context<'_>) {
        while self.waiting.len() < PIECES
            && let Some(piece) = self.pieces.front()
        {
            let bytes = piece.batch.bytes();
            if piece.requests.is_empty() && piece.refused.is_empty() {
                // All that was to be in it was refused at once.
                self.pieces.pop_front();
                continue;
            }
            let permit = match &mut self.room {
                Some(room) => match room.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(permit) => permit,
                },
                None => match piece.served.rate.take(piece.batch.len(), bytes) {
                    Ok(()) => match self.broker.permit_now(bytes) {
                        Some(permit) => Ok(permit),
                        None => {
                            let broker = self.broker.clone();
                            self.room = Some(Box::pin(async move { broker.permit(bytes).await }));
                            continue;
                        }
                    },
                    Err(error) => Err(error),
                },
            };
            self.room = None;
            let piece = self.pieces.pop_front().expect("it was just looked at");
            self.append(piece, permit);
        }
    }

    fn append(&mut self, piece: Piece, permit: Result<OwnedSemaphorePermit>) {
        let Piece { served, mut batch, requests, refused } = piece;
        let bytes = batch.bytes();
        let receipt = match permit {
            Ok(permit) => {
                batch.reserve(permit);
                served.place.log.append(batch)
            }
            Err(error) => Receipt::ready(Err(error)),
        };
        self.waiting.push_back(Waiting { served, receipt, requests, refused, bytes });
    }

    /// Takes the answers that are there.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        while self.event.answers.len() < ANSWERS
            && let Some(first) = self.waiting.front_mut()
        {
            let Poll::Ready(outcomes) = Pin::new(&mut first.receipt).poll(cx) else { return };
            let waiting = self.waiting.pop_front().expect("it was just polled");
            let messages = waiting.requests.iter().map(|(_, count)| *count as usize).sum();
            let failed = outcomes.as_ref().err().cloned();
            let outcomes = outcomes.unwrap_or_else(|error| Outcomes::all(messages, Err(error)));
            waiting.count(&outcomes);
            let same = self.answered.as_ref() == Some(&waiting.served.place.name);
            if !same {
                self.answered = Some(waiting.served.place.name.clone());
            }
            let missing = self.event.answer(&waiting.requests, &outcomes, same);
            self.refused -= waiting.refused.len();
            let refused = waiting.refused.into_iter().map(|refused| refused.told(failed.as_ref(), missing));
            self.event.answers.extend(refused);
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<PublishEvent>>> {
        let interrupted = self.interrupted.as_mut().poll(cx).is_ready();
        // Nothing more is taken in, however much there is.
        self.stopped |= interrupted;
        loop {
            self.poll_append(cx);
            let before = self.waiting.len();
            self.poll_answers(cx);
            // Whoever had no room before has some now.
            if self.pieces.is_empty() || self.waiting.len() == before {
                break;
            }
        }
        if interrupted
            && !self.closing
            && let Some(word) = self.interruption(false)
        {
            return Poll::Ready(Some(word));
        }
        if let Some(event) = self.event.take() {
            return Poll::Ready(Some(Ok(event)));
        }
        let settled = self.pieces.is_empty() && self.waiting.is_empty();
        if interrupted && let Some(word) = self.interruption(settled) {
            return Poll::Ready(Some(word));
        }
        if settled && let Some(end) = self.end.take() {
            return Poll::Ready(end.err().map(Err));
        }
        if self.pulse.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.closing {
            return Poll::Ready(Some(Err(self.drained())));
        }
        let server_time = self.broker.shared.clock.now();
        let heartbeat = Heartbeat { server_time, last_sequence: self.admission.place.log.tail().committed() };
        Poll::Ready(Some(Ok(PublishEvent { heartbeat: Some(heartbeat), ..PublishEvent::default() })))
    }

    /// The last words, and the one before. None as long as answers are still to come.
    fn interruption(&mut self, settled: bool) -> Option<Result<PublishEvent>> {
        let place = &self.admission.place;
        if place.is_deleted() {
            let message = format!("namespace {} was deleted, with all that it held", place.name);
            return Some(Err(Error::new(Reason::NamespaceNotFound, message)));
        }
        let Some(&deadline) = self.broker.shared.deadline.get() else {
            let producer = &self.session.as_ref()?.producer;
            return settled.then(|| Err(refusal::replaced(producer)));
        };
        if self.closing {
            return settled.then(|| Err(self.drained()));
        }
        self.closing = true;
        self.pulse.end_at(deadline);
        let grace = deadline.saturating_duration_since(Instant::now());
        let closing = Closing { grace, reconnect_delay: self.broker.shared.reconnect_delay() };
        Some(Ok(PublishEvent { closing: Some(closing), ..PublishEvent::default() }))
    }

    fn drained(&self) -> Error {
        self.broker.shared.draining("the broker is stopping, and the stream ends with it")
    }
}

impl Stream for PublishStream {
    type Item = Result<PublishEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        // A stream with much to tell lets the others have their turn.
        let budget = std::task::ready!(coop::poll_proceed(cx));
        let event = std::task::ready!(this.poll_event(cx));
        budget.made_progress();
        match &event {
            Some(Ok(_)) => this.pulse.sent(),
            Some(Err(_)) | None => this.over = true,
        }
        Poll::Ready(event)
    }
}

/// Messages for one namespace that are appended together.
struct Piece {
    served: Arc<Served>,
    batch: Batch,
    requests: Requests,
    refused: Vec<Refused>,
}

/// A message that was refused for good, before the log passed over its number.
struct Refused {
    request: u64,
    number: u64,
    error: Error,
}

impl Refused {
    /// What is told when the log has answered: that it `failed` as a whole, or that a request before is `missing`.
    fn told(self, failed: Option<&Error>, missing: Option<u64>) -> Answer {
        let Refused { request, number, error } = self;
        let error = match (failed, missing) {
            (Some(failed), _) => failed.clone(),
            // Within a piece, numbers and requests rise together.
            (None, Some(missing)) if missing < request => refusal::preceding(number, number - (request - missing)),
            _ => error,
        };
        Answer::Refused { request, error }
    }
}

/// A piece that the log has.
struct Waiting {
    served: Arc<Served>,
    receipt: Receipt,
    requests: Requests,
    refused: Vec<Refused>,
    bytes: usize,
}

/// Which requests of the stream: the first and the number of neighbours, rising.
type Requests = Vec<(u64, u64)>;

fn push_request(requests: &mut Requests, request: u64) {
    match requests.last_mut() {
        Some((first, count)) if *first + *count == request => *count += 1,
        _ => requests.push((request, 1)),
    }
}

impl Waiting {
    /// Counts what became of the messages; what had been published before is neither taken nor refused.
    fn count(&self, outcomes: &Outcomes) {
        let (mut taken, mut refused) = (0, 0);
        for OutcomeRun { count, outcome } in outcomes.runs() {
            match outcome {
                Ok(Appended { duplicate: false, .. }) => taken += *count as u64,
                Ok(_) => {}
                Err(_) => refused += *count as u64,
            }
        }
        let metrics = &self.served.place.metrics;
        metrics.published_messages.inc_by(taken);
        if refused > 0 {
            metrics.refused_messages.inc_by(refused);
        }
        let messages = outcomes.len() as u64;
        if taken > 0 {
            // Where only some were taken, of the bytes as many in proportion.
            metrics.published_bytes.inc_by(self.bytes as u64 * taken / messages);
        }
    }
}

impl PublishEvent {
    /// What is to be said, if there is anything. The next number is said by itself.
    fn take(&mut self) -> Option<Self> {
        if let Some(next) = self.next_number.take() {
            return Some(PublishEvent { next_number: Some(next), ..PublishEvent::default() });
        }
        if self.answers.len() > ANSWERS {
            // A client takes only so much at a time.
            let later = self.answers.split_off(ANSWERS);
            return Some(std::mem::replace(self, PublishEvent { answers: later, ..PublishEvent::default() }));
        }
        (!self.answers.is_empty()).then(|| std::mem::take(self))
    }

    /// Adds what became of these requests; `same` says that they went to the namespace of those before. Answers the first
    /// that was refused and may be sent again.
    fn answer(&mut self, requests: &Requests, outcomes: &Outcomes, mut same: bool) -> Option<u64> {
        let mut missing = None;
        let mut requests = requests.iter().copied();
        let (mut request, mut left) = requests.next().unwrap_or_default();
        for OutcomeRun { count, outcome } in outcomes.runs() {
            let (mut done, count) = (0, *count as u64);
            while done < count {
                if left == 0 {
                    let Some(next) = requests.next() else { return missing };
                    (request, left) = next;
                }
                let step = left.min(count - done);
                match outcome {
                    Ok(first) => {
                        self.published(request, step, first, done, same);
                        same = true;
                    }
                    Err(error) => {
                        if error.retry_delay().is_some() {
                            missing.get_or_insert(request);
                        }
                        let refused = |request| Answer::Refused { request, error: error.clone() };
                        self.answers.extend((request..request + step).map(refused));
                    }
                }
                (request, left, done) = (request + step, left - step, done + step);
            }
        }
        missing
    }

    /// Adds `count` messages, the first of which lies `offset` behind `first`.
    fn published(&mut self, request: u64, count: u64, first: &Appended, offset: u64, same: bool) {
        let Appended { sequence, duplicate, durability, .. } = *first;
        let sequence = if sequence == Sequence::ZERO { sequence } else { sequence.plus(offset) };
        let run = PublishedRun { request, count, sequence, duplicate, durability };
        match self.answers.last_mut() {
            Some(Answer::Published(last)) if same && last.is_followed_by(&run) => last.count += count,
            _ => self.answers.push(Answer::Published(run)),
        }
    }
}

impl PublishedRun {
    fn is_followed_by(&self, next: &PublishedRun) -> bool {
        let known = self.sequence != Sequence::ZERO;
        let sequence = if known { self.sequence.plus(self.count) } else { self.sequence };
        self.request + self.count == next.request
            && sequence == next.sequence
            && self.duplicate == next.duplicate
            && self.durability == next.durability
    }
}

fn ahead(producer: &ProducerName, number: u64, next: u64) -> Error {
    let message = format!(
        "the next number of producer {:?} is {next}, and first_number is {number}: send again what is missing, from \
         {next} on, or leave first_number out to go on there",
        producer.as_str()
    );
    Error::new(Reason::NumberAhead, message).field("first_number").with("next_number", next)
}

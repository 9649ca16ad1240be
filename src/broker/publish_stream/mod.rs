//! A stream of messages coming in. It is driven by whoever polls it: what was handed over since the last time is appended
//! at once, as one piece, and what the log answered comes back as runs. There is no task and no channel behind it; what
//! waits is bounded, and a publisher that is too fast is not read any further.

mod event;
mod piece;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;

pub use self::event::{Answer, PublishEvent, PublishedRun};
use self::{
    event::ANSWERS,
    piece::{Piece, Waiting},
};
use super::{
    Broker, Closing, Heartbeat, Publish,
    pulse::{self, Pulse, Pulsed},
    served::{Admission, Served},
};
use crate::{
    engine::{Batch, BoxFuture, Session, refusal},
    model::{Durability, Error, NamespaceName, ProducerName, Reason, Result},
};

/// Messages and bytes in one piece, about: what is appended together. As much as the log writes at a time.
const PIECE_MESSAGES: usize = 8_192;
/// See [`PIECE_MESSAGES`].
const PIECE_BYTES: usize = 1 << 20;
/// Pieces of one stream that wait for the log. Beyond, what comes in gathers in the next one.
const PIECES: usize = 64;

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

/// The stream itself. Dropping it is all the cleanup there is: what was appended stays, and nobody is told. Ends with
/// `None` where the publisher ended it, with an error (last) where the broker does.
pub struct PublishStream {
    broker: Arc<Broker>,
    served: Arc<Served>,
    session: Option<Arc<Session>>,
    // Ready when the broker drains, the namespace is gone, or another stream of the same producer has come. Nothing more
    // is taken in then.
    interruption: Pin<Box<WaitForCancellationFutureOwned>>,
    interrupted: bool,
    // Of the next message: its number, and its place on the stream.
    number: u64,
    request: u64,
    // What was handed over; the last one takes more.
    pieces: VecDeque<Piece>,
    // What came behind a message, it first, whose schema another broker may have registered a moment ago.
    late: VecDeque<Result<Publish<'static>>>,
    // There as long as that is looked for.
    looking: Option<BoxFuture<'static, Result<()>>>,
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
    end: Option<Result<()>>,
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
        let mut event = PublishEvent::default();
        let (mut session, mut number) = (None, 0);
        if let Some((producer, first)) = open.producer {
            let begun = Arc::new(Session { producer, replaced: interruption.clone() });
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
            interruption: Box::pin(interruption.cancelled_owned()),
            interrupted: false,
            number,
            request: 0,
            pieces: VecDeque::new(),
            late: VecDeque::new(),
            looking: None,
            room: None,
            waiting: VecDeque::new(),
            answered: None,
            refused: 0,
            event,
            pulse: Pulse::new(open.heartbeat_interval, jitter),
            end: None,
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
        let open = self.end.is_none() && !self.interrupted && !self.pulse.has_ended() && self.looking.is_none();
        open && messages < PIECE_MESSAGES && bytes < PIECE_BYTES && self.event.answers.len() + self.refused < ANSWERS
    }

    /// Hands over the next message. What could not even be parsed comes in as an error and goes out as its answer.
    pub fn publish(&mut self, publish: Result<Publish<'_>>) {
        match self.looking.is_some() {
            true => self.late.push_back(publish.map(Publish::into_owned)),
            false => self.take(publish, false),
        }
    }

    /// Takes the next message, or begins to look for its schema; `looked` if that was done.
    fn take(&mut self, publish: Result<Publish<'_>>, looked: bool) {
        let request = self.request;
        match publish.and_then(|publish| self.add(request, publish, looked)) {
            Ok(None) => {}
            Ok(Some(unknown)) => {
                self.late.push_back(Ok(unknown));
                let broker = self.broker.clone();
                self.looking = Some(Box::pin(async move { broker.look_for_schemas().await }));
                return;
            }
            Err(error) => self.refuse(request, error),
        }
        self.request += 1;
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

    /// Encodes a message into the last piece, or into a new one. Answers it if its schema is to be looked for.
    fn add(&mut self, request: u64, mut publish: Publish<'_>, looked: bool) -> Result<Option<Publish<'static>>> {
        if self.session.is_some() {
            self.check_numbered(&publish)?;
        }
        self.prepare_piece(publish.namespace.as_ref())?;
        let piece = self.pieces.back_mut().expect("it was just prepared");
        if !self.broker.encode(&piece.served, &mut piece.batch, &mut publish, looked)? {
            return Ok(Some(publish.into_owned()));
        }
        piece.push(request);
        Ok(None)
    }

    /// A message was refused for good. If it has a number, that is not told before the log has passed over the number:
    /// else those behind it could never be taken.
    fn refuse(&mut self, request: u64, error: Error) {
        self.admission.place.metrics.refused_messages.inc();
        if self.session.is_some() && self.prepare_piece(None).is_ok() {
            let piece = self.pieces.back_mut().expect("it was just prepared");
            piece.refuse(request, self.number, error);
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

    /// Makes sure that the last piece takes the next message: that namespace and numbers go on there.
    fn prepare_piece(&mut self, namespace: Option<&NamespaceName>) -> Result<()> {
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
            self.pieces.push_back(Piece::new(served, batch));
        }
        Ok(())
    }

    /// Takes what waits for its schema, if that was looked for.
    fn poll_late(&mut self, cx: &mut Context<'_>) {
        let Some(Poll::Ready(found)) = self.looking.as_mut().map(|looking| looking.as_mut().poll(cx)) else { return };
        self.looking = None;
        let late = std::mem::take(&mut self.late);
        match found {
            Ok(()) => late.into_iter().for_each(|publish| self.take(publish, true)),
            // What is not answered is sent again.
            Err(error) => self.end = Some(Err(error)),
        }
    }

    /// Gives the logs what was handed over, as far as there is room.
    fn poll_append(&mut self, cx: &mut Context<'_>) {
        while self.waiting.len() < PIECES
            && let Some(piece) = self.pieces.front()
        {
            if piece.is_empty() {
                self.pieces.pop_front();
                continue;
            }
            let bytes = piece.batch.bytes();
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
            self.waiting.push_back(piece.append(permit));
        }
    }

    /// Takes the answers that are there.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        while self.event.answers.len() < ANSWERS
            && let Some(first) = self.waiting.front_mut()
        {
            let Poll::Ready(outcomes) = Pin::new(&mut first.receipt).poll(cx) else { return };
            let waiting = self.waiting.pop_front().expect("it was just polled");
            let same = self.answered.as_ref() == Some(&waiting.served.place.name);
            if !same {
                self.answered = Some(waiting.served.place.name.clone());
            }
            self.refused -= waiting.refused.len();
            waiting.tell(outcomes, same, &mut self.event);
        }
    }

    /// What is told first of an interruption: that the broker drains. The others need no grace.
    fn closing(&mut self) -> Option<Closing> {
        let deadline = *self.broker.shared.deadline.get()?;
        self.pulse.end_at(deadline);
        Some(self.broker.shared.closing(deadline))
    }

    /// Why the broker ends the stream, when all that it took is answered.
    fn last_word(&self) -> Error {
        match &self.session {
            _ if self.admission.place.is_deleted() => self.admission.place.gone(),
            Some(session) if self.broker.shared.deadline.get().is_none() => refusal::replaced(&session.producer),
            _ => self.broker.shared.draining("the broker is stopping, and the stream ends with it"),
        }
    }
}

impl Stream for PublishStream {
    type Item = Result<PublishEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_pulsed(cx)
    }
}

impl Pulsed for PublishStream {
    type Event = PublishEvent;

    fn pulse(&mut self) -> &mut Pulse {
        &mut self.pulse
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<PublishEvent>>> {
        if !self.interrupted && self.interruption.as_mut().poll(cx).is_ready() {
            self.interrupted = true;
            if let Some(closing) = self.closing() {
                return Poll::Ready(Some(Ok(PublishEvent { closing: Some(closing), ..PublishEvent::default() })));
            }
        }
        self.poll_late(cx);
        loop {
            self.poll_append(cx);
            let before = self.waiting.len();
            self.poll_answers(cx);
            // Whoever had no room before has some now.
            if self.pieces.is_empty() || self.waiting.len() == before {
                break;
            }
        }
        if let Some(event) = self.event.take() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.pieces.is_empty() && self.waiting.is_empty() && self.looking.is_none() {
            if let Some(end) = self.end.take() {
                return Poll::Ready(end.err().map(Err));
            }
            if self.interrupted {
                return Poll::Ready(Some(Err(self.last_word())));
            }
        }
        ready!(self.pulse.poll(cx));
        if self.pulse.is_over() {
            return Poll::Ready(Some(Err(self.last_word())));
        }
        let server_time = self.broker.shared.clock.now();
        let heartbeat = Heartbeat { server_time, last_sequence: self.admission.place.log.tail().committed() };
        Poll::Ready(Some(Ok(PublishEvent { heartbeat: Some(heartbeat), ..PublishEvent::default() })))
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

//! `Broker.PublishStream`: messages in, answers out, on one stream. Its body is our own, as that of a live stream: it
//! holds no buffer while it waits, and there is no task and no channel between the connection and the log.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use http::{Request, Response};
use http_body::Body;
use tonic::{Status, codec::Streaming, codegen::StdError};

use super::{
    convert,
    incoming::{self, Raw},
    stream::{self, Answers},
};
use crate::{
    broker::{Answer, Broker, OpenPublishStream, PublishEvent, PublishStream, PublishedRun},
    model::{Error, NamespaceName, ProducerName, Reason, Result, Sequence, limits},
    pb::v1 as pb,
    server::status,
};

/// Takes streams of messages in.
#[derive(Clone)]
pub struct PublishStreamService(pub Arc<Broker>);

impl PublishStreamService {
    /// Answers the call at once, with a body that lives as long as the stream.
    pub fn call<B>(&self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        match stream::requests(request) {
            Ok(requests) => {
                let broker = self.0.clone();
                let waiting = broker.clone();
                let phase = Phase::First(Box::pin(async move { waiting.closed().await }));
                stream::answer(Publishing { broker, requests, phase })
            }
            Err(refused) => refused.into_http(),
        }
    }
}

/// The answers of a stream, from its first request on.
struct Publishing {
    broker: Arc<Broker>,
    requests: Streaming<Raw>,
    phase: Phase,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Phase {
    /// Nothing has come yet; the broker may drain meanwhile.
    First(Later<Error>),
    /// The stream is being opened; the requests of the first frame wait.
    Opening(Later<Result<PublishStream>>, Opening),
    Open(Box<Open>),
    Over,
}

/// What of the first frame is needed when the stream is open.
struct Opening {
    namespace: NamespaceName,
    producer_id: String,
    heartbeat_interval: Duration,
    frame: Bytes,
}

struct Open {
    stream: PublishStream,
    namespace: NamespaceName,
    producer_id: String,
    heartbeat_interval: Duration,
    // What the library found wrong with a frame.
    malformed: Option<Status>,
    // Nothing more comes.
    ended: bool,
}

impl Answers for Publishing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            match &mut self.phase {
                Phase::First(closed) => match Pin::new(&mut self.requests).poll_next(cx) {
                    Poll::Ready(None) => return Poll::Ready(Ok(None)),
                    Poll::Ready(Some(first)) => self.phase = self.open(first.map_err(restate)?.0)?,
                    Poll::Pending => return closed.as_mut().poll(cx).map(|refusal| Err(refusal.into())),
                },
                Phase::Opening(opened, _) => {
                    let stream = ready!(opened.as_mut().poll(cx))?;
                    if let Phase::Opening(_, opening) = std::mem::replace(&mut self.phase, Phase::Over) {
                        self.phase = Phase::Open(Box::new(Open::new(stream, opening)));
                    }
                }
                Phase::Open(open) => return open.poll(&mut self.requests, cx),
                Phase::Over => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Publishing {
    fn open(&self, frame: Bytes) -> Result<Phase> {
        let first = incoming::frame(&frame)?.0.unwrap_or_default();
        let namespace = NamespaceName::parse(&first.namespace)?;
        let producer = match (&*first.producer_id, first.first_number) {
            ("", 0) => None,
            ("", _) => return Err(convert::invalid("first_number", "numbers nothing without a producer_id")),
            (name, number) => Some((ProducerName::parse(name)?, number)),
        };
        let heartbeat_interval = convert::heartbeat_interval(first.heartbeat_interval)?;
        let open = OpenPublishStream { namespace: namespace.clone(), producer, heartbeat_interval };
        let broker = self.broker.clone();
        let opened = Box::pin(async move { broker.open_publish_stream(open).await });
        let producer_id = first.producer_id;
        Ok(Phase::Opening(opened, Opening { namespace, producer_id, heartbeat_interval, frame }))
    }
}

impl Open {
    fn new(stream: PublishStream, opening: Opening) -> Self {
        let Opening { namespace, producer_id, heartbeat_interval, frame } = opening;
        let mut open = Open { stream, namespace, producer_id, heartbeat_interval, malformed: None, ended: false };
        // What it says besides was read before.
        let taken = incoming::frame(&frame).and_then(|(_, requests)| open.take_requests(&requests));
        if let Err(error) = taken {
            open.end(Err(error));
        }
        open
    }

    /// Takes in what has come, as far as there is room, then tells what there is to tell.
    fn poll(&mut self, requests: &mut Streaming<Raw>, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            let drained = self.take_in(requests, cx);
            let told = Pin::new(&mut self.stream).poll_next(cx);
            // What came in may have found room meanwhile, and nothing else would say that there is more.
            if told.is_pending() && !drained && !self.ended && self.stream.has_room() {
                continue;
            }
            return Poll::Ready(match ready!(told) {
                Some(Ok(event)) => Ok(Some(stream::framed(&response(event)))),
                Some(Err(error)) => Err(error.into()),
                None => self.malformed.take().map_or(Ok(None), Err),
            });
        }
    }

    /// Takes in what has come, as far as there is room. Answers whether that was all.
    fn take_in(&mut self, requests: &mut Streaming<Raw>, cx: &mut Context<'_>) -> bool {
        while !self.ended && self.stream.has_room() {
            match Pin::new(&mut *requests).poll_next(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(Raw(frame)))) => {
                    if let Err(error) = self.take(&frame) {
                        self.end(Err(error));
                    }
                }
                Poll::Ready(Some(Err(malformed))) => {
                    self.malformed = Some(restate(malformed));
                    self.end(Ok(()));
                }
                Poll::Ready(None) => self.end(Ok(())),
            }
        }
        false
    }

    fn take(&mut self, frame: &[u8]) -> Result<()> {
        let (said, requests) = incoming::frame(frame)?;
        if let Some(said) = said {
            self.check(&said)?;
            if said.first_number > 0 {
                self.stream.renumber(said.first_number)?;
            }
        }
        self.take_requests(&requests)
    }

    fn take_requests(&mut self, requests: &[&[u8]]) -> Result<()> {
        if requests.len() > limits::BATCH_MESSAGES {
            let (has, most) = (requests.len(), limits::BATCH_MESSAGES);
            let message = format!("a frame of the stream has {has} requests: at most {most} are allowed");
            return Err(Error::new(Reason::RequestInvalid, message).field("requests"));
        }
        requests.iter().for_each(|request| self.stream.publish(incoming::publish(request)));
        Ok(())
    }

    /// What stands in the first frame may be said again, but not changed.
    fn check(&self, frame: &pb::PublishStreamRequest) -> Result<()> {
        let interval = match frame.heartbeat_interval {
            None => self.heartbeat_interval,
            said => convert::heartbeat_interval(said)?,
        };
        let changes = [
            ("producer_id", !frame.producer_id.is_empty() && frame.producer_id != self.producer_id),
            ("namespace", !frame.namespace.is_empty() && frame.namespace != self.namespace.as_str()),
            ("heartbeat_interval", interval != self.heartbeat_interval),
        ];
        if let Some((field, _)) = changes.iter().find(|(_, changed)| *changed) {
            return Err(convert::invalid(field, "is said in the first frame of a stream, and cannot change"));
        }
        if frame.first_number > 0 && self.producer_id.is_empty() {
            return Err(convert::invalid("first_number", "numbers nothing without a producer_id"));
        }
        Ok(())
    }

    fn end(&mut self, result: Result<()>) {
        self.ended = true;
        self.stream.finish(result);
    }
}

fn restate(refused: Status) -> Status {
    status::restate(refused, limits::REQUEST_BYTES)
}

fn response(event: PublishEvent) -> pb::PublishStreamResponse {
    let mut response = pb::PublishStreamResponse {
        next_number: event.next_number,
        heartbeat: event.heartbeat.map(convert::heartbeat),
        closing: event.closing.map(|closing| {
            convert::closing(
                closing,
                "the broker is stopping: come back after the reconnect delay, and send again what \
                 was not answered",
            )
        }),
        ..Default::default()
    };
    for answer in event.answers {
        match answer {
            Answer::Published(run) => response.published.push(published(run)),
            Answer::Refused { request, error } => {
                response.failures.push(pb::PublishFailure { request, error: Some((&error).into()) });
            }
        }
    }
    response
}

fn published(run: PublishedRun) -> pb::PublishedRun {
    let last = if run.sequence == Sequence::ZERO { run.sequence } else { run.sequence.plus(run.count - 1) };
    pb::PublishedRun {
        first_request: run.request,
        requests: u32::try_from(run.count).expect("a stream answers far fewer at a time"),
        first_sequence: run.sequence.0,
        last_sequence: last.0,
        duplicate: run.duplicate,
        durability: convert::durability(run.durability),
    }
}

//! `Broker.Consume`: deliveries out, settlements in, on one stream. Its body is our own, as that of a live stream: there
//! is no task and no channel between the connection and the subscription.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http::{Request, Response};
use http_body::Body;
use tonic::{Status, codec::Streaming, codegen::StdError};

use super::{
    convert, deliveries, settlements,
    stream::{self, Answers},
};
use crate::{
    broker::{
        Broker,
        subscription::{Attach, FlowControl, Session},
    },
    model::{ConsumerName, Error, NamespaceName, Result, SubscriptionName, limits},
    pb::v1 as pb,
    server::status,
};

/// Has subscriptions worked off.
#[derive(Clone)]
pub struct ConsumeService(pub Arc<Broker>);

impl ConsumeService {
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
                stream::answer(Consuming { broker, requests, phase })
            }
            Err(refused) => refused.into_http(),
        }
    }
}

/// The deliveries of a stream, from its first request on.
struct Consuming {
    broker: Arc<Broker>,
    requests: Streaming<pb::ConsumeRequest>,
    phase: Phase,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Phase {
    /// Nothing has come yet; the broker may drain meanwhile.
    First(Later<Error>),
    /// The session begins; what the first request says besides waits.
    Opening(Later<Result<Session>>, Box<pb::ConsumeRequest>),
    Open(Box<Open>),
    Over,
}

struct Open {
    session: Session,
    // What ends the stream, when all before it is told.
    refusal: Option<Status>,
    // Nothing more comes in.
    ended: bool,
}

impl Answers for Consuming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            match &mut self.phase {
                Phase::First(closed) => match Pin::new(&mut self.requests).poll_next(cx) {
                    Poll::Ready(None) => return Poll::Ready(Ok(None)),
                    Poll::Ready(Some(first)) => self.phase = self.open(first.map_err(restate)?)?,
                    Poll::Pending => return closed.as_mut().poll(cx).map(|refusal| Err(refusal.into())),
                },
                Phase::Opening(opened, _) => {
                    let session = ready!(opened.as_mut().poll(cx))?;
                    if let Phase::Opening(_, first) = std::mem::replace(&mut self.phase, Phase::Over) {
                        let mut open = Box::new(Open { session, refusal: None, ended: false });
                        open.take(*first);
                        self.phase = Phase::Open(open);
                    }
                }
                Phase::Open(open) => return open.poll(&mut self.requests, cx),
                Phase::Over => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Consuming {
    fn open(&self, mut first: pb::ConsumeRequest) -> Result<Phase> {
        let Some(said) = first.attach.take() else {
            return Err(convert::invalid("attach", "is missing: the first request says which subscription is meant"));
        };
        let namespace = NamespaceName::parse(&said.namespace)?;
        let name = SubscriptionName::parse(&said.subscription).map_err(|error| error.field("attach.subscription"))?;
        let attach = parse_attach(said)?;
        let broker = self.broker.clone();
        let opened = Box::pin(async move { broker.consume(&namespace, &name, attach).await });
        Ok(Phase::Opening(opened, Box::new(first)))
    }
}

impl Open {
    /// Takes in what has come, then tells what there is to tell.
    fn poll(
        &mut self,
        requests: &mut Streaming<pb::ConsumeRequest>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>> {
        while !self.ended {
            match Pin::new(&mut *requests).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(request))) => self.take(request),
                Poll::Ready(Some(Err(malformed))) => self.refuse(restate(malformed)),
                Poll::Ready(None) => self.half_close(),
            }
        }
        if let Some(refusal) = self.refusal.take() {
            return Poll::Ready(Err(refusal));
        }
        Poll::Ready(match ready!(Pin::new(&mut self.session).poll_next(cx)) {
            Some(Ok(event)) => Ok(Some(deliveries::frame(event))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(None),
        })
    }

    fn take(&mut self, request: pb::ConsumeRequest) {
        if let Err(error) = self.try_take(request) {
            self.refuse(error.into());
        }
    }

    fn try_take(&mut self, request: pb::ConsumeRequest) -> Result<()> {
        if request.attach.is_some() {
            return Err(convert::invalid("attach", "is said in the first request of a stream, and cannot change"));
        }
        if let Some(flow) = request.flow_control {
            self.session.change(flow_control(flow));
        }
        settlements::check(&request.settlements)?;
        self.session.settle(settlements::words(&request.settlements));
        if request.detach {
            self.session.detach();
        }
        Ok(())
    }

    /// The caller says nothing more: where what is delivered is done, there is nothing more to say.
    fn half_close(&mut self) {
        self.ended = true;
        if !self.session.is_auto() {
            self.session.detach();
        }
    }

    fn refuse(&mut self, refusal: Status) {
        self.ended = true;
        self.refusal = Some(refusal);
    }
}

fn parse_attach(said: pb::Attach) -> Result<Attach> {
    let consumer = match &*said.consumer_id {
        "" => None,
        name => Some(ConsumerName::parse(name).map_err(|error| error.field("attach.consumer_id"))?),
    };
    Ok(Attach {
        consumer,
        flow: said.flow_control.map(flow_control).unwrap_or_default(),
        auto: settlements::is_auto(said.ack_mode, "attach.ack_mode")?,
        confirm: said.confirm,
        heartbeat_interval: convert::heartbeat_interval(said.heartbeat_interval)?,
        responder: said.responder,
    })
}

fn flow_control(flow: pb::FlowControl) -> FlowControl {
    FlowControl { messages: flow.max_outstanding_messages, bytes: flow.max_outstanding_bytes }
}

fn restate(refused: Status) -> Status {
    status::restate(refused, limits::REQUEST_BYTES)
}

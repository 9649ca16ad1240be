//! Calls that another broker of the cluster must answer: they are sent on to it as they are, and its answer comes back as it
//! is. Never reads them.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use tokio::{sync::watch, time::timeout};
use tonic::{
    Status,
    body::Body,
    codegen::{Service as _, StdError},
    transport::{Channel, Endpoint},
};
use tower::ServiceExt as _;

use super::calls::Answer;
use crate::{
    broker::{Broker, Holder},
    model::{Error, Reason, Result},
};

/// Says that a call was sent on already: nobody sends it on again.
const FORWARDED: &str = "tilde-forwarded";
/// The calls about namespaces, and the one that is a stream.
const NAMESPACES: &str = "/tilde.v1.Namespaces/";
const STREAM: &str = "/Consume";
/// How long a connection to another broker may take.
const CONNECT: Duration = Duration::from_secs(2);
/// What is not known yet soon is, who must answer or what was done: so long a call waits for that.
const PATIENCE: Duration = Duration::from_secs(3);
/// When whoever found nobody should ask again.
const AGAIN: Duration = Duration::from_millis(500);

/// Sends calls on.
#[derive(Clone)]
pub struct Forward {
    broker: Arc<Broker>,
    worker: watch::Receiver<Holder>,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Forward {
    /// Asks the broker where to; None if there is no other broker.
    pub fn new(broker: &Arc<Broker>) -> Option<Self> {
        Some(Forward { broker: broker.clone(), worker: broker.worker()?, channels: Arc::default() })
    }

    /// Whether another broker must answer a call, or may have to.
    pub fn takes(&self, service: &str, method: &str) -> bool {
        is_work(service, method) && !matches!(*self.worker.borrow(), Holder::Me(_))
    }

    /// Whether another broker works off the subscriptions, as far as is known.
    pub fn is_elsewhere(&self) -> bool {
        matches!(*self.worker.borrow(), Holder::Other(_))
    }

    /// Whether a call was sent on already.
    pub fn has_sent(headers: &HeaderMap) -> bool {
        headers.contains_key(FORWARDED)
    }

    /// Sends a call on.
    pub fn call<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let (forward, request) = (self.clone(), request.map(Body::new));
        Box::pin(async move { Ok(forward.send(request).await.unwrap_or_else(|error| Status::from(error).into_http())) })
    }

    async fn send(mut self, mut request: Request<Body>) -> Result<Response<Body>> {
        // Whoever sent it on knows better, or will in a moment.
        if request.headers_mut().insert(FORWARDED, HeaderValue::from_static("1")).is_some() {
            return Err(nobody());
        }
        let is_known = self.worker.wait_for(|holder| *holder != Holder::Nobody);
        let known = timeout(PATIENCE, is_known).await.ok().and_then(|known| Some(known.ok()?.clone()));
        let Some(Holder::Other(address)) = known else { return Err(nobody()) };
        let path = request.uri().path().to_owned();
        let answered = async { self.channel(&address)?.ready_oneshot().await?.call(request).await };
        let answered = answered.await.map_err(|error: tonic::transport::Error| unreachable(&address, &error))?;
        if path.starts_with(NAMESPACES)
            && !matches!(timeout(PATIENCE, self.broker.hear_of_namespaces()).await, Ok(Ok(())))
        {
            tracing::debug!("what was done to a namespace is heard of later");
        }
        let broker = self.broker.clone();
        // Calls end by themselves.
        let closed: Closed = match path.ends_with(STREAM) {
            true => Box::pin(async move { broker.closed().await }),
            false => Box::pin(std::future::pending()),
        };
        Ok(answered.map(|body| Body::new(Passed { body, closed, address, has_ended: false })))
    }

    fn channel(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.channels.lock().expect("nobody panics while holding the channels");
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT);
        let endpoint = endpoint.initial_connection_window_size(1 << 24).initial_stream_window_size(1 << 20);
        let channel = endpoint.tcp_nodelay(true).http2_keep_alive_interval(CONNECT).keep_alive_while_idle(true);
        let channel = channel.keep_alive_timeout(CONNECT).connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// An answer that is passed on. If its sender is lost, or this broker stops, it ends with a status that says so.
struct Passed {
    body: Body,
    closed: Closed,
    address: String,
    has_ended: bool,
}

type Closed = Pin<Box<dyn Future<Output = Error> + Send>>;

impl http_body::Body for Passed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let last_word = match self.closed.as_mut().poll(cx) {
            Poll::Ready(error) => error,
            Poll::Pending => match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => unreachable(&self.address, &error),
                frame => return Poll::Ready(frame),
            },
        };
        self.has_ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(Status::from(last_word).add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

/// What only the broker that works off the subscriptions can answer.
fn is_work(service: &str, method: &str) -> bool {
    match service {
        "tilde.v1.Subscriptions" | "tilde.v1.Namespaces" | "tilde.v1.Transfer" => true,
        "tilde.v1.Broker" => matches!(method, "Consume" | "Pull" | "Acknowledge"),
        _ => false,
    }
}

fn nobody() -> Error {
    let message = "no broker works off the subscriptions at this moment: one will within seconds, try again";
    Error::new(Reason::EngineUnreachable, message).retry_after(AGAIN)
}

fn unreachable(address: &str, error: &dyn std::fmt::Display) -> Error {
    tracing::warn!(address, error = %error, "the broker that works off the subscriptions is not reached");
    let message =
        "the broker that works off the subscriptions cannot be reached: it, or another, will be soon; try again";
    Error::new(Reason::EngineUnreachable, message).retry_after(AGAIN)
}

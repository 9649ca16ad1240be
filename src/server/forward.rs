//! Calls that another broker of the cluster must answer: they are sent on to it as they are, and its answer comes back as it
//! is. Never reads them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use tonic::{
    Status,
    body::Body,
    codegen::{Service as _, StdError},
    transport::{Channel, Endpoint},
};
use tower::ServiceExt as _;

use super::routes::Answer;
use crate::{
    broker::{Broker, Holder},
    model::{Error, Reason},
};

/// Says that a call was sent on already: nobody sends it on again.
const FORWARDED: &str = "tilde-forwarded";
/// How long a connection to another broker may take.
const CONNECT: Duration = Duration::from_secs(2);
/// When whoever found nobody should ask again.
const AGAIN: Duration = Duration::from_millis(500);

/// Sends calls on.
#[derive(Clone)]
pub struct Forward {
    broker: Arc<Broker>,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

/// Where a call goes.
pub enum Route {
    /// It is answered by this broker.
    Here,
    /// It is answered by the broker there.
    To(String),
    /// It cannot be answered at this moment.
    Nowhere(Status),
}

impl Forward {
    /// Asks the broker where to.
    pub fn new(broker: Arc<Broker>) -> Self {
        Forward { broker, channels: Arc::default() }
    }

    /// Who must answer a call: this broker, if there is no answer here.
    pub fn route(&self, service: &str, method: &str, headers: &HeaderMap) -> Route {
        if !is_work(service, method) {
            return Route::Here;
        }
        match self.broker.worker() {
            Holder::Me(_) => Route::Here,
            Holder::Other(address) if !headers.contains_key(FORWARDED) => Route::To(address),
            Holder::Nobody | Holder::Other(_) => Route::Nowhere(Status::from(nobody())),
        }
    }

    /// Sends a call on.
    pub fn send<B>(&self, address: &str, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let channel = match self.channel(address) {
            Ok(channel) => channel,
            Err(error) => {
                let response = Status::from(unreachable(address, &error)).into_http();
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let mut request = request.map(Body::new);
        request.headers_mut().insert(FORWARDED, HeaderValue::from_static("1"));
        let address = address.to_owned();
        Box::pin(async move {
            let answered = async { channel.ready_oneshot().await?.call(request).await };
            Ok(answered.await.unwrap_or_else(|error| Status::from(unreachable(&address, &error)).into_http()))
        })
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

/// What only the broker that works off the subscriptions can answer.
fn is_work(service: &str, method: &str) -> bool {
    match service {
        "tilde.v1.Subscriptions" | "tilde.v1.Namespaces" => true,
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

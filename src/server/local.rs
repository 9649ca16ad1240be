//! Calls from within: what answers over plain HTTP asks the broker as any client does, without a connection, so that no
//! rule stands twice and what another broker must answer is sent on to it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::{Code, Status, body::Body};

use super::calls::Calls;
use crate::broker::Broker;

/// What comes before a message: a flag, and its length in four bytes.
const PREFIX: usize = 5;

/// A client within.
#[derive(Clone)]
pub struct Local {
    calls: Arc<Calls>,
    broker: Arc<Broker>,
}

impl Local {
    /// Over a broker, and the calls that reach it.
    pub fn new(broker: Arc<Broker>, calls: Arc<Calls>) -> Self {
        Local { calls, broker }
    }

    /// The broker's wall time.
    pub fn now(&self) -> jiff::Timestamp {
        let (seconds, nanos) = self.broker.now().parts();
        jiff::Timestamp::new(seconds, nanos).unwrap_or_default()
    }

    /// Asks a call that takes one message and answers one, as in `/tilde.v1.Topics/GetTopic`.
    pub async fn ask<T: Message + Default>(&self, path: &'static str, message: &impl Message) -> Result<T, Status> {
        let answer = self.ask_encoded(Uri::from_static(path), message.encode_to_vec().into()).await?;
        T::decode(answer).map_err(|error| Status::internal(format!("the answer of {path} does not decode: {error}")))
    }

    /// The same, for messages that are encoded.
    pub async fn ask_encoded(&self, path: Uri, message: Bytes) -> Result<Bytes, Status> {
        let mut framed = BytesMut::with_capacity(PREFIX + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).map_err(|_| Status::invalid_argument("the request is too large"))?);
        framed.put_slice(&message);
        let mut request = Request::new(Body::new(Full::new(framed.freeze())));
        (*request.method_mut(), *request.version_mut(), *request.uri_mut()) = (Method::POST, Version::HTTP_2, path);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        let Ok(answered) = self.calls.call(request).await;
        let (head, body) = answered.into_parts();
        let told = Status::from_header_map(&head.headers);
        if let Some(refused) = told.filter(|status| status.code() != Code::Ok) {
            return Err(refused);
        }
        let collected = body.collect().await?;
        let told = collected.trailers().and_then(Status::from_header_map);
        if let Some(refused) = told.filter(|status| status.code() != Code::Ok) {
            return Err(refused);
        }
        let framed = collected.to_bytes();
        match framed.len() < PREFIX {
            true => Err(Status::internal("a call was answered with nothing")),
            false => Ok(framed.slice(PREFIX..)),
        }
    }
}

//! `Broker.Subscribe`: a live stream, and the body that carries it.
//!
//! The body is our own. The library's keeps one buffer a stream for as long as the stream lives, with the capacity of
//! the largest frame that it ever sent: on ten thousand quiet streams that is hundreds of megabytes. Ours allocates
//! each frame in its exact size when there is something to send, and holds nothing while it waits. Each frame goes
//! out on its own, so that a reader that is stuck costs two frames at most: the one that is being sent, and the one
//! that hyper holds while it waits for room. Frames are never compressed: it would be done anew for every reader.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http::{Request, Response};
use http_body::Body;
use tonic::Status;

use super::{
    convert, frame,
    stream::{self, Answers},
};
use crate::{
    broker::{Broker, LiveStream, Subscribe},
    model::{Error, Filter, LagPolicy, NamespaceName, PatternSet, Reason, Result, limits},
    pb::v1 as pb,
    server::status,
};

/// Hands messages out.
#[derive(Clone)]
pub struct SubscribeService(pub Arc<Broker>);

impl SubscribeService {
    /// Answers the call: a status, or a body that lives as long as the stream.
    pub async fn call<B>(&self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send,
    {
        match self.open(request).await {
            Ok(stream) => stream::answer(stream),
            Err(refused) => refused.into_http(),
        }
    }

    async fn open<B>(&self, request: Request<B>) -> Result<LiveStream, Status>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send,
    {
        let request = receive(request).await?;
        let subscribe = parse(request)?;
        Ok(self.0.subscribe(subscribe).await?)
    }
}

/// Reads the one request message. Does not wait for the caller to close its half: that ends nothing.
async fn receive<B>(request: Request<B>) -> Result<pb::SubscribeRequest, Status>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut messages = stream::requests::<_, pb::SubscribeRequest>(request)?;
    let message = messages.message().await.map_err(|refused| status::restate(refused, limits::REQUEST_BYTES))?;
    message.ok_or_else(|| Error::new(Reason::RequestInvalid, "the call ended before its request came").into())
}

fn parse(request: pb::SubscribeRequest) -> Result<Subscribe> {
    Ok(Subscribe {
        namespace: NamespaceName::parse(&request.namespace)?,
        patterns: PatternSet::parse(&request.topics)?,
        filter: Filter::parse(&request.filter)?,
        position: convert::position(request.start, "start")?,
        heartbeat_interval: convert::heartbeat_interval(request.heartbeat_interval)?,
        max_messages: request.max_messages,
        stop_at_end: request.stop_at_end,
        lag_policy: lag_policy(request.lag_policy)?,
        strict: request.strict,
        responder: request.responder,
    })
}

fn lag_policy(policy: i32) -> Result<LagPolicy> {
    Ok(match pb::LagPolicy::try_from(policy) {
        Ok(pb::LagPolicy::Unspecified | pb::LagPolicy::CatchUp) => LagPolicy::CatchUp,
        Ok(pb::LagPolicy::Skip) => LagPolicy::Skip,
        Ok(pb::LagPolicy::Disconnect) => LagPolicy::Disconnect,
        Err(_) => return Err(convert::unknown_value(policy, "lag_policy")),
    })
}

impl Answers for LiveStream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        Poll::Ready(match ready!(Pin::new(self).poll_next(cx)) {
            Some(Ok(event)) => Ok(Some(frame::encode(&event))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Position;

    fn request() -> pb::SubscribeRequest {
        pb::SubscribeRequest { topics: vec!["~".into()], ..Default::default() }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let subscribe = parse(request()).unwrap();
        assert_eq!(subscribe.position, Position::New);
        assert_eq!(subscribe.heartbeat_interval, Duration::from_secs(15));
        assert_eq!(subscribe.lag_policy, LagPolicy::CatchUp);
        assert_eq!(subscribe.namespace, NamespaceName::default());
    }

    #[test]
    fn refusals_name_the_field() {
        use pb::start_position::Position as Start;
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let start = |position| Some(pb::StartPosition { position: Some(position) });
        let cases = [
            (pb::SubscribeRequest { topics: vec![], ..request() }, "topics"),
            (pb::SubscribeRequest { heartbeat_interval: seconds(301), ..request() }, "heartbeat_interval"),
            (pb::SubscribeRequest { heartbeat_interval: seconds(-1), ..request() }, "heartbeat_interval"),
            (pb::SubscribeRequest { lag_policy: 9, ..request() }, "lag_policy"),
            (pb::SubscribeRequest { filter: "topic".into(), ..request() }, "filter"),
            (pb::SubscribeRequest { start: start(Start::Preset(4)), ..request() }, "start.preset"),
            (pb::SubscribeRequest { start: start(Start::LastMessages(0)), ..request() }, "start.last_messages"),
            (pb::SubscribeRequest { start: start(Start::LastMessages(100_001)), ..request() }, "start.last_messages"),
            (
                pb::SubscribeRequest {
                    start: start(Start::Time(prost_types::Timestamp { seconds: -1, nanos: 0 })),
                    ..request()
                },
                "start.time",
            ),
            (pb::SubscribeRequest { start: start(Start::AfterCursor("x".into())), ..request() }, "start.after_cursor"),
            (pb::SubscribeRequest { namespace: "A".into(), ..request() }, "namespace"),
        ];
        for (request, field) in cases {
            assert_eq!(parse(request).unwrap_err().violated_field(), Some(field));
        }
    }
}

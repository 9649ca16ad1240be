//! One stream of the broker, and the watch over it: silence for too long is a break. Never begins another.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{self, Instant, Sleep};
use tonic::{Status, Streaming};

use crate::{
    client::{ANSWER_BYTES, Client, Fault, broken::Broken, endpoint::silence},
    model::limits,
    pb::v1::{Closing, SubscribeRequest, SubscribeResponse, broker_client::BrokerClient},
};

/// How long a stream may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// A stream that the broker has begun to answer.
#[derive(Debug)]
pub(super) struct Live {
    client: Client,
    /// The connection it is on.
    line: u64,
    responses: Streaming<SubscribeResponse>,
    first: Option<SubscribeResponse>,
    /// How long it may be silent, and since when it is.
    silence: Duration,
    heard: Instant,
    watch: Pin<Box<Sleep>>,
    closing: Option<Closing>,
}

/// Begins a stream, and waits for its first response.
pub(super) async fn open(client: Client, request: SubscribeRequest) -> Result<Live, Broken> {
    let (channel, line) = client.channel().await.map_err(Broken::new)?;
    let begin = async {
        let mut broker = BrokerClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
        let mut responses = broker.subscribe(request).await?.into_inner();
        let first = responses.message().await?;
        Ok::<_, Status>((responses, first))
    };
    let (responses, first) = match time::timeout(BEGIN_WITHIN, begin).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(status)) => return Err(broken(&client, line, Fault::from(status), None)),
        Err(_) => return Err(broken(&client, line, Fault::late(), None)),
    };
    let started = first.as_ref().and_then(|first| first.started.as_ref());
    let heartbeat = started.and_then(|started| started.heartbeat_interval?.try_into().ok());
    let silence = silence(heartbeat.unwrap_or(limits::HEARTBEAT_DEFAULT));
    let heard = Instant::now();
    let watch = Box::pin(time::sleep_until(heard + silence));
    Ok(Live { client, line, responses, first, silence, heard, watch, closing: None })
}

/// What is to be said of a stream that is over. A connection that may be at fault is not used again.
fn broken(client: &Client, line: u64, fault: Fault, closing: Option<&Closing>) -> Broken {
    if fault.is_connection() || closing.is_some() {
        client.forget(line);
    }
    Broken::new(fault).after(closing)
}

impl Live {
    /// The next response; none when the broker has ended the stream as it was asked to.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<SubscribeResponse>, Broken>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Ok(Some(first)));
        }
        if let Poll::Ready(next) = Pin::new(&mut self.responses).poll_next(cx) {
            return Poll::Ready(match next {
                None => Ok(None),
                Some(Ok(response)) => {
                    self.heard = Instant::now();
                    self.closing = response.closing.clone().or(self.closing.take());
                    Ok(Some(response))
                }
                Some(Err(status)) => Err(self.broken(Fault::from(status))),
            });
        }
        while self.watch.as_mut().poll(cx).is_ready() {
            // Set once a silence, and not for every response.
            let end = self.heard + self.silence;
            if end <= Instant::now() {
                return Poll::Ready(Err(self.broken(Fault::late())));
            }
            self.watch.as_mut().reset(end);
        }
        Poll::Pending
    }

    fn broken(&self, fault: Fault) -> Broken {
        broken(&self.client, self.line, fault, self.closing.as_ref())
    }
}

//! Asking over topics. A call is made once: whether it may be made again its caller knows. Never decides who answers.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

use super::{ANSWER_BYTES, Client, Fault, PublishRequest, within};
use crate::pb::v1::{CallRequest, CallResponse, Message, broker_client::BrokerClient};

/// How long a call takes, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What the broker has to say once the time is over still arrives: it gives up before a tenth of what it is told is left.
const GRACE: Duration = Duration::from_secs(1);

/// A question that was not asked yet. It is asked when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is awaited"]
pub struct Call {
    client: Client,
    request: CallRequest,
    timeout: Duration,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Replies {
    /// As they came; at least one.
    pub messages: Vec<Message>,
    /// They were those to an equal call of somebody else, that waited already.
    pub collapsed: bool,
}

impl Call {
    pub(super) fn new(client: Client, mut request: PublishRequest) -> Self {
        if request.namespace.is_empty() {
            request.namespace = client.namespace().to_owned();
        }
        Call { client, request: CallRequest { request: Some(request), ..CallRequest::default() }, timeout: TIMEOUT }
    }

    /// How long to wait for the replies: 20 seconds if nobody says otherwise, at most an hour.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many replies are wanted: one if nobody says otherwise, at most 100. What came in time is answered if fewer do.
    pub fn max_replies(mut self, replies: u32) -> Self {
        self.request.max_replies = replies;
        self
    }

    /// Calls to one topic with the same key that wait at the same time share one request.
    pub fn collapse_key(mut self, key: impl Into<String>) -> Self {
        self.request.collapse_key = key.into();
        self
    }

    async fn ask(self) -> Result<Replies, Fault> {
        let Call { client, mut request, timeout } = self;
        request.timeout = timeout.try_into().ok();
        let (channel, number) = client.channel().await?;
        let mut broker = BrokerClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
        let limit = timeout.mul_f64(1.2) + GRACE;
        let answered = within(limit, request, async |request| broker.call(request).await).await;
        let CallResponse { replies, collapsed } = answered.inspect_err(|fault| {
            if fault.is_connection() {
                client.forget(number);
            }
        })?;
        Ok(Replies { messages: replies, collapsed })
    }
}

impl IntoFuture for Call {
    type Output = Result<Replies, Fault>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

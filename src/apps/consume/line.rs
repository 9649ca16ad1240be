//! The stream to the broker, and another one when it breaks. Passes on what is said; decides nothing about messages.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{self, Instant, Sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    apps::remote::Remote,
    client::{Backoff, Fault},
    clock::SystemClock,
    pb::v1::{Attach, Closing, ConsumeRequest, ConsumeResponse, FlowControl, closing::Reason},
};

/// How long a stream may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often the broker is heard at least, and how long it may be silent: two of them may get lost.
const HEARTBEAT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_millis(37_500);

/// One stream after the other.
pub struct Line {
    remote: Remote,
    attach: Attach,
    phase: Phase,
    backoff: Backoff,
    /// Once the broker has answered it is worth coming back.
    answered: bool,
}

enum Phase {
    Waiting(Pin<Box<Sleep>>),
    Opening(Pin<Box<dyn Future<Output = Result<Live, Fault>> + Send>>),
    Live(Box<Live>),
    Over,
}

/// A stream that the broker has begun to answer.
struct Live {
    requests: Option<Requests>,
    responses: Streaming<ConsumeResponse>,
    first: Option<ConsumeResponse>,
    heard: Instant,
    closing: Option<Closing>,
}

/// Where requests are put.
pub type Requests = mpsc::Sender<ConsumeRequest>;

/// What is heard.
pub enum Event {
    /// A stream has begun; requests go there from now on.
    Begun(Requests),
    /// The broker said something.
    Said(Box<ConsumeResponse>),
    /// The stream is over, and another one follows. Without a fault the broker ended it in order.
    Ended(Option<Fault>),
    /// It is over for good.
    Failed(Fault),
}

impl Line {
    /// Opens its first stream when it is first listened to, as `attach` says.
    pub fn new(remote: Remote, attach: Attach) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let attach = Attach { heartbeat_interval: HEARTBEAT.try_into().ok(), ..attach };
        let phase = Phase::Waiting(Box::pin(time::sleep(Duration::ZERO)));
        Line { remote, attach, phase, backoff, answered: false }
    }

    /// How much may be outstanding on streams that begin from now on.
    pub fn window(&mut self, messages: u32) {
        let flow = FlowControl { max_outstanding_messages: Some(messages), max_outstanding_bytes: None };
        self.attach.flow_control = Some(flow);
    }

    /// Opens no more streams.
    pub fn close(&mut self) {
        self.phase = Phase::Over;
    }

    /// Where the broker is.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What is heard next; nothing once it is over. May be dropped while it waits.
    pub async fn next(&mut self) -> Event {
        loop {
            match &mut self.phase {
                Phase::Waiting(pause) => {
                    pause.await;
                    self.phase = Phase::Opening(Box::pin(open(self.remote.clone(), self.attach.clone())));
                }
                Phase::Opening(opening) => match opening.await {
                    Ok(live) => self.phase = Phase::Live(Box::new(live)),
                    Err(fault) => return self.broke(fault, None),
                },
                Phase::Live(live) => {
                    if let Some(requests) = live.requests.take() {
                        (self.answered, _) = (true, self.backoff.reset());
                        return Event::Begun(requests);
                    }
                    match live.next().await {
                        Ok(Some(response)) => return Event::Said(Box::new(response)),
                        Ok(None) => {
                            let closing = live.closing.take();
                            self.pause(closing.as_ref(), None);
                            return Event::Ended(None);
                        }
                        Err(fault) => {
                            let closing = live.closing.take();
                            return self.broke(fault, closing.as_ref());
                        }
                    }
                }
                Phase::Over => std::future::pending().await,
            }
        }
    }

    fn broke(&mut self, fault: Fault, closing: Option<&Closing>) -> Event {
        let planned = closing.is_some_and(|closing| closing.reason() != Reason::Revoked);
        if !self.answered || !(planned || fault.is_passing()) {
            self.phase = Phase::Over;
            return Event::Failed(fault);
        }
        self.pause(closing, fault.retry_delay);
        Event::Ended(Some(fault))
    }

    fn pause(&mut self, closing: Option<&Closing>, asked: Option<Duration>) {
        let said = closing.and_then(|closing| closing.reconnect_delay?.try_into().ok());
        let delay = self.backoff.next(&SystemClock, said.or(asked));
        self.phase = Phase::Waiting(Box::pin(time::sleep(delay)));
    }
}

/// Begins a stream, and waits for its first response.
async fn open(remote: Remote, attach: Attach) -> Result<Live, Fault> {
    let mut client = remote.messages().await?;
    let (requests, said) = mpsc::channel(1);
    let begin = async {
        let attach = ConsumeRequest { attach: Some(attach), ..ConsumeRequest::default() };
        requests.try_send(attach).map_err(|_| Status::internal("the stream's queue is full before it begins"))?;
        let mut responses = client.consume(ReceiverStream::new(said)).await?.into_inner();
        let first = responses.message().await?;
        Ok::<_, Status>((responses, first))
    };
    let (responses, first) = match time::timeout(BEGIN_WITHIN, begin).await {
        Ok(begun) => begun?,
        Err(_) => return Err(silent()),
    };
    let requests = Some(requests);
    Ok(Live { requests, responses, first, heard: Instant::now(), closing: None })
}

impl Live {
    /// The next response; none when the broker has ended the stream in order.
    async fn next(&mut self) -> Result<Option<ConsumeResponse>, Fault> {
        let response = match self.first.take() {
            Some(first) => Some(first),
            None => match time::timeout_at(self.heard + SILENCE, self.responses.message()).await {
                Ok(response) => response?,
                Err(_) => return Err(silent()),
            },
        };
        self.heard = Instant::now();
        if let Some(closing) = response.as_ref().and_then(|response| response.closing.clone()) {
            self.closing = Some(closing);
        }
        Ok(response)
    }
}

fn silent() -> Fault {
    Fault::from(Status::deadline_exceeded("the broker was not heard for too long"))
}

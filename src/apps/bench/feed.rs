//! One `PublishStream` under load: sends frames as they may go, and matches the answers with them. Never decides when
//! they may go: a `Pace` does.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use anyhow::{bail, ensure};
use bytes::{BufMut, Bytes};
use tokio_stream::Stream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::{
    frames::{self, Frames, Run},
    latencies::Gathered,
    raw::path,
    timed::Timed,
};
use crate::{
    client::{Channel, Fault},
    clock::{Clock, SystemClock},
    pb::v1::{PublishStreamResponse, PublishedRun},
};

/// Frames that may go are gathered up to so many bytes before they are handed to the connection.
const GATHERED: usize = 64 << 10;

/// Says which frame goes next, and when.
pub trait Pace: Send + Unpin + 'static {
    /// The next frame; pending as long as none may go, and none at the end. `sent` is the number of its first message,
    /// `answered` how many were answered.
    fn poll_next(&mut self, sent: u64, progress: &Sent, context: &mut Context<'_>) -> Poll<Option<u32>>;
}

/// How far a stream is. The sender looks at it before each frame, the receiver moves it on.
#[derive(Debug, Default)]
pub struct Sent {
    /// Messages that were sent.
    pub sent: AtomicU64,
    /// Messages that were answered.
    pub answered: AtomicU64,
    /// Whom to wake when more is answered.
    pub waker: atomic_waker::AtomicWaker,
    timed: Mutex<Timed>,
}

impl Sent {
    fn timed(&self) -> MutexGuard<'_, Timed> {
        self.timed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is open.
#[derive(Debug)]
pub struct Feed {
    answers: Streaming<PublishStreamResponse>,
    progress: Arc<Sent>,
    /// What an answer must be worth at least.
    durability: i32,
    last_sequence: u64,
}

impl Feed {
    /// Opens it and begins to send.
    pub async fn open(
        channel: Channel,
        frames: Arc<Frames>,
        namespace: &str,
        durability: i32,
        in_flight: u64,
        pace: impl Pace,
    ) -> anyhow::Result<Feed> {
        let timed = Mutex::new(Timed::new(in_flight));
        let progress = Arc::new(Sent { timed, ..Sent::default() });
        let producer_id = format!("tilde-bench-{:016x}", SystemClock.random());
        let codec = Frame { frames, opening: frames::opening(&producer_id, namespace) };
        let sending = Sending { pace, progress: progress.clone(), opened: false };
        let mut client = Grpc::new(channel);
        client.ready().await?;
        let answers = client.streaming(Request::new(sending), path::publish_stream(), codec).await?.into_inner();
        Ok(Feed { answers, progress, durability, last_sequence: 0 })
    }

    /// How far it is.
    pub fn progress(&self) -> &Arc<Sent> {
        &self.progress
    }

    /// Takes the next answers, and counts how many messages they answer; none when all are answered and the stream has
    /// ended.
    pub async fn next(&mut self, latencies: &Gathered) -> anyhow::Result<Option<u64>> {
        let Some(response) = self.answers.message().await? else {
            let [sent, answered] = [&self.progress.sent, &self.progress.answered].map(|count| count.load(Relaxed));
            ensure!(sent == answered, "the stream ended, and {} messages were not answered", sent - answered);
            return Ok(None);
        };
        ensure!(response.closing.is_none(), "the broker is stopping: the run is of no worth");
        if let Some(error) = response.failures.into_iter().next().and_then(|failure| failure.error) {
            return Err(Fault::from(error).into());
        }
        let answered = response.published.iter().map(|run| u64::from(run.requests)).sum();
        let now = Instant::now();
        for run in &response.published {
            self.check(run)?;
            let (first, count) = (run.first_request, run.requests.into());
            self.progress.timed().answered(first, count, now, &mut latencies.lock());
        }
        self.progress.answered.fetch_add(answered, Relaxed);
        self.progress.waker.wake();
        Ok(Some(answered))
    }

    fn check(&mut self, run: &PublishedRun) -> anyhow::Result<()> {
        ensure!(run.durability >= self.durability, "an answer is worth less than was asked for");
        ensure!(!run.duplicate, "the broker takes a message for one that was published before");
        let length = u64::from(run.requests);
        if run.first_sequence <= self.last_sequence || run.last_sequence != run.first_sequence + length - 1 {
            bail!("sequences {} to {} came after {}", run.first_sequence, run.last_sequence, self.last_sequence);
        }
        self.last_sequence = run.last_sequence;
        Ok(())
    }
}

/// The frames that a stream sends.
struct Sending<P> {
    pace: P,
    progress: Arc<Sent>,
    opened: bool,
}

impl<P: Pace> Stream for Sending<P> {
    type Item = Part;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Part>> {
        // The first frame goes at once, and alone: it says who this is.
        if !self.opened {
            self.opened = true;
            return Poll::Ready(Some(Part::Opening));
        }
        let this = &mut *self;
        let first = this.progress.sent.load(Relaxed);
        let Some(count) = std::task::ready!(this.pace.poll_next(first, &this.progress, context)) else {
            return Poll::Ready(None);
        };
        let run = Run { first, count };
        this.progress.timed().sent(first, count.into());
        this.progress.sent.store(first + u64::from(count), Relaxed);
        Poll::Ready(Some(Part::Run(run)))
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug)]
enum Part {
    Opening,
    Run(Run),
}

/// Encodes frames where they are sent from, and decodes answers, which are few.
#[derive(Clone, Debug)]
struct Frame {
    frames: Arc<Frames>,
    opening: Bytes,
}

impl Codec for Frame {
    type Encode = Part;
    type Decode = PublishStreamResponse;
    type Encoder = Frame;
    type Decoder = ProstDecoder<PublishStreamResponse>;

    fn encoder(&mut self) -> Frame {
        self.clone()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for Frame {
    type Item = Part;
    type Error = Status;

    fn encode(&mut self, part: Part, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match part {
            Part::Opening => into.put_slice(&self.opening),
            Part::Run(run) => self.frames.encode(run, into),
        }
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(GATHERED, GATHERED)
    }
}

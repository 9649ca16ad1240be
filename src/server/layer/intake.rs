//! Bounds the memory of requests that have not arrived in full: together they may take so much, and each must arrive in
//! time. Nobody waits for room: a request that waits would hold the window of its connection, and with it the rest of
//! those that have room. What arrives at once, as nearly all do, passes without being counted; so does the beginning of a
//! message on a stream that has had one before. A request that is no gRPC is one message, its body.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};
use tonic::{Status, codegen::StdError};

use crate::{
    model::{Error, Reason},
    server::routes::is_grpc,
};

/// Bytes of requests that have arrived in part, over all connections.
const MOST: usize = 256 << 20;
/// Of the later messages of a stream, so many bytes may have come without being counted: its packets end anywhere.
const UNCOUNTED: usize = 16 << 10;
/// What comes before a message: a flag, and its length in four bytes, big end first.
const PREFIX: usize = 5;

/// The layer.
pub struct Intake<S> {
    inner: S,
    budget: Arc<Semaphore>,
    patience: Duration,
}

impl<S> Intake<S> {
    /// Around `inner`. A request that comes in pieces is given up when it has not arrived after `patience`.
    pub fn new(inner: S, patience: Duration) -> Self {
        Intake { inner, budget: Arc::new(Semaphore::new(MOST)), patience }
    }
}

impl<S, B> Service<Request<B>> for Intake<S>
where
    S: Service<Request<Counted<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<B>) -> Self::Future {
        let mut progress = Progress::new(self.budget.clone(), self.patience);
        progress.is_whole = !is_grpc(request.headers());
        self.inner.call(request.map(|body| Counted { body, progress }))
    }
}

/// A request's body.
pub struct Counted<B> {
    body: B,
    progress: Progress,
}

/// How far the message has come that comes just now.
struct Progress {
    budget: Arc<Semaphore>,
    patience: Duration,
    // The message is all that comes, without a prefix.
    is_whole: bool,
    // Its prefix, as far as it has come; and of what follows, what has come and what is still to come.
    prefix: [u8; PREFIX],
    begun: usize,
    come: usize,
    missing: usize,
    // The call has had a whole message.
    later: bool,
    held: Option<Held>,
}

/// What a message holds that has come in part.
struct Held {
    // As many as bytes have come.
    room: OwnedSemaphorePermit,
    time: Pin<Box<Sleep>>,
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if this.progress.is_whole && this.body.is_end_stream() => {
                this.progress.held = None;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let counted = frame.data_ref().map_or(Ok(()), |data| this.progress.count(data));
                this.progress.excuse();
                Poll::Ready(Some(counted.map(|()| frame)))
            }
            Poll::Pending => match this.progress.awaited() {
                Some(held) => {
                    ready!(held.time.as_mut().poll(cx));
                    Poll::Ready(Some(Err(late(this.progress.patience))))
                }
                None => Poll::Pending,
            },
            polled => polled.map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Progress {
    fn new(budget: Arc<Semaphore>, patience: Duration) -> Self {
        Progress {
            budget,
            patience,
            is_whole: false,
            prefix: [0; PREFIX],
            begun: 0,
            come: 0,
            missing: 0,
            later: false,
            held: None,
        }
    }

    /// Walks over what has come, and makes room for the message that it ends in, unless it ends with a whole one.
    fn count(&mut self, mut data: &[u8]) -> Result<(), StdError> {
        if self.is_whole {
            self.come += data.len();
            data = &[];
        }
        while !data.is_empty() {
            if self.missing == 0 {
                data = self.begin(data);
            } else {
                let step = self.missing.min(data.len());
                self.come += step;
                self.missing -= step;
                data = &data[step..];
            }
            if self.missing == 0 && self.begun == 0 {
                (self.come, self.later, self.held) = (0, true, None);
            }
        }
        let bytes = self.come + self.begun;
        if bytes == 0 || (self.later && bytes <= UNCOUNTED) {
            return Ok(());
        }
        match &mut self.held {
            Some(held) => held.room.merge(take(&self.budget, bytes - held.room.num_permits())?),
            None => {
                let room = take(&self.budget, bytes)?;
                self.held = Some(Held { room, time: Box::pin(sleep(self.patience)) });
            }
        }
        Ok(())
    }

    /// What bounds the wait for the rest. A stream may be silent between two messages; a body must come.
    fn awaited(&mut self) -> Option<&mut Held> {
        if self.is_whole && self.held.is_none() {
            let room = take(&self.budget, 0).ok()?;
            self.held = Some(Held { room, time: Box::pin(sleep(self.patience)) });
        }
        self.held.as_mut()
    }

    /// Something has come after the time was over: then it was the broker that did not read.
    fn excuse(&mut self) {
        if let Some(held) = self.held.as_mut().filter(|held| held.time.deadline() <= Instant::now()) {
            held.time.as_mut().reset(Instant::now() + self.patience);
        }
    }

    /// Reads a message's prefix, or as much of it as there is. Answers what is behind. What claims to be longer than a
    /// request may be is refused further on, by whoever reads it.
    fn begin<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let (front, rest) = data.split_at((PREFIX - self.begun).min(data.len()));
        self.prefix[self.begun..self.begun + front.len()].copy_from_slice(front);
        self.begun += front.len();
        if self.begun == PREFIX {
            let [_, length @ ..] = self.prefix;
            self.missing = u32::from_be_bytes(length) as usize;
            self.come = if self.missing > 0 { PREFIX } else { 0 };
            self.begun = 0;
        }
        rest
    }
}

/// Room for so many bytes, if there is.
fn take(budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, StdError> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    budget.clone().try_acquire_many_owned(bytes).map_err(|_| crowded())
}

fn late(patience: Duration) -> StdError {
    let message = format!(
        "the request did not arrive in full within {patience:?}: send it again, in smaller parts if the line is slow"
    );
    Box::new(Status::from(Error::new(Reason::RequestTooSlow, message)))
}

fn crowded() -> StdError {
    let message = format!(
        "requests that have arrived in part take {} MiB, as much as they may: send this one again in a moment",
        MOST >> 20
    );
    Box::new(Status::from(Error::new(Reason::QuotaExceeded, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn held(progress: &Progress) -> usize {
        progress.held.as_ref().map_or(0, |held| held.room.num_permits())
    }

    #[tokio::test]
    async fn only_what_has_not_arrived_takes_room() {
        let budget = Arc::new(Semaphore::new(20));
        let progress = || Progress::new(budget.clone(), PATIENCE);
        let (mut first, mut second, mut whole) = (progress(), progress(), progress());
        first.count(&[0, 0, 0]).unwrap();
        assert_eq!(held(&first), 3);
        first.count(&[0, 9, 1, 2, 3]).unwrap();
        first.count(&[4, 5]).unwrap();
        assert_eq!(budget.available_permits(), 10);
        second.count(&[0, 0, 0, 0, 30, 1, 2, 3]).unwrap();
        assert!(second.count(&[4, 5, 6]).is_err());
        whole.count(&[0, 0, 0, 0, 3, 1, 2, 3]).unwrap();
        whole.count(&[0, 0, 0, 0, 0]).unwrap();
        first.count(&[6, 7, 8, 9]).unwrap();
        assert_eq!(budget.available_permits(), 12);
        drop(second);
        assert_eq!(budget.available_permits(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_a_prefix_is_one_message_and_must_come() {
        let budget = Arc::new(Semaphore::new(20));
        let mut body = Progress::new(budget.clone(), PATIENCE);
        body.is_whole = true;
        let due = body.awaited().map(|held| held.time.deadline());
        assert_eq!(due, Some(Instant::now() + PATIENCE));
        body.count(&[0, 0, 0, 0, 1, 7]).unwrap();
        body.count(&[9; 10]).unwrap();
        assert_eq!((held(&body), budget.available_permits()), (16, 4));
        assert!(body.count(&[9; 5]).is_err());
        drop(body);
        assert_eq!(budget.available_permits(), 20);
        assert!(Progress::new(budget, PATIENCE).awaited().is_none(), "a stream may be silent");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_late_because_the_broker_did_not_read() {
        let mut progress = Progress::new(Arc::new(Semaphore::new(20)), PATIENCE);
        progress.count(&[0, 0, 0, 0, 9, 1]).unwrap();
        let deadline = |progress: &Progress| progress.held.as_ref().unwrap().time.deadline();
        let first = deadline(&progress);
        // In time, it has no more of it than it had.
        progress.count(&[2]).unwrap();
        progress.excuse();
        assert_eq!(deadline(&progress), first);
        tokio::time::advance(PATIENCE * 2).await;
        progress.count(&[3]).unwrap();
        progress.excuse();
        assert_eq!(deadline(&progress), Instant::now() + PATIENCE);
    }

    #[tokio::test]
    async fn the_later_messages_of_a_stream_take_room_when_much_of_them_has_come() {
        let budget = Arc::new(Semaphore::new(1 << 20));
        let mut stream = Progress::new(budget.clone(), PATIENCE);
        let message = |length: u32| [&[0][..], &length.to_be_bytes(), &vec![7; length as usize]].concat();
        // Two whole ones, the beginning of a third, and its end with the beginning of a fourth.
        let bytes = [message(3), message(0), message(30), message(100_000)].concat();
        stream.count(&bytes[..20]).unwrap();
        stream.count(&bytes[20..60]).unwrap();
        assert_eq!(held(&stream), 0);
        stream.count(&bytes[60..40_000]).unwrap();
        // What came of it: not the three before, of 8, 5 and 35 bytes.
        assert_eq!(held(&stream), 40_000 - 48);
        stream.count(&bytes[40_000..]).unwrap();
        assert_eq!(budget.available_permits(), 1 << 20);
    }
}

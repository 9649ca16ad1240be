//! Bounds the memory of requests that have not arrived in full: together they may take so much, and each must arrive in
//! time. Nobody waits for room: a request that waits would hold the window of its connection, and with it the rest of
//! those that have room. What arrives at once, as nearly all do, passes without being counted. Only the first message of
//! a call is looked at.

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
    time::{Sleep, sleep},
};
use tonic::{Status, codegen::StdError};

use crate::model::{Error, Reason};

/// Bytes of requests that have arrived in part, over all connections.
const MOST: usize = 256 << 20;
/// A request that comes in pieces is given up when it has not arrived after this.
const PATIENCE: Duration = Duration::from_secs(30);
/// What comes before a message: a flag, and its length in four bytes, big end first.
const PREFIX: usize = 5;

/// The layer.
pub struct Intake<S> {
    inner: S,
    budget: Arc<Semaphore>,
}

impl<S> Intake<S> {
    /// Around `inner`.
    pub fn new(inner: S) -> Self {
        Intake { inner, budget: Arc::new(Semaphore::new(MOST)) }
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
        let budget = &self.budget;
        self.inner.call(request.map(|body| Counted { body, progress: Progress::New(budget.clone()) }))
    }
}

/// A request's body.
pub struct Counted<B> {
    body: B,
    progress: Progress,
}

enum Progress {
    /// Nothing has come yet.
    New(Arc<Semaphore>),
    /// A part has come.
    Part(Part),
    /// All has come.
    Whole,
}

struct Part {
    budget: Arc<Semaphore>,
    // As many as bytes have come.
    room: OwnedSemaphorePermit,
    // Bytes that are still to come.
    missing: usize,
    patience: Pin<Box<Sleep>>,
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
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match (polled, &mut this.progress) {
            (Poll::Ready(Some(Ok(frame))), progress) => Poll::Ready(Some(progress.count(&frame).map(|()| frame))),
            (Poll::Pending, Progress::Part(part)) => {
                ready!(part.patience.as_mut().poll(cx));
                Poll::Ready(Some(Err(late())))
            }
            (polled, _) => polled.map_err(Into::into),
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
    /// Makes room for what has come, as long as it is not all.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), StdError> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        match self {
            Progress::New(budget) => match missing(data) {
                Some(missing) => {
                    let (budget, room) = (budget.clone(), take(budget, data.len())?);
                    *self = Progress::Part(Part { budget, room, missing, patience: Box::pin(sleep(PATIENCE)) });
                }
                None => *self = Progress::Whole,
            },
            Progress::Part(part) => match part.missing.checked_sub(data.len()).filter(|&missing| missing > 0) {
                Some(missing) => {
                    part.room.merge(take(&part.budget, data.len())?);
                    part.missing = missing;
                }
                None => *self = Progress::Whole,
            },
            Progress::Whole => {}
        }
        Ok(())
    }
}

/// Room for so many bytes, if there is.
fn take(budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, StdError> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    budget.clone().try_acquire_many_owned(bytes).map_err(|_| crowded())
}

/// Bytes of a message that are still to come after this first piece; None if the piece is all of it. What claims to be
/// longer than a request may be is refused further on, by whoever reads it.
fn missing(first: &[u8]) -> Option<usize> {
    let Some(length) = first.get(1..PREFIX) else { return Some(usize::MAX) };
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    (PREFIX + length).checked_sub(first.len()).filter(|&left| left > 0)
}

fn late() -> StdError {
    let message = "the request did not arrive in full within 30 s: send it again, in smaller parts if the line is slow";
    Box::new(Status::from(Error::new(Reason::RequestInvalid, message)))
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

    #[test]
    fn what_is_whole_is_told_from_what_is_not() {
        assert_eq!(missing(&[0, 0, 0, 0, 2, 7, 7]), None);
        assert_eq!(missing(&[0, 0, 0, 0, 2, 7]), Some(1));
        assert_eq!(missing(&[0, 0, 0, 0, 0]), None);
        assert_eq!(missing(&[0, 0, 0]), Some(usize::MAX));
    }

    #[tokio::test]
    async fn only_what_has_not_arrived_takes_room() {
        let budget = Arc::new(Semaphore::new(20));
        let piece = |bytes: &'static [u8]| Frame::data(Bytes::from_static(bytes));
        let progress = || Progress::New(budget.clone());
        let (mut first, mut second, mut whole) = (progress(), progress(), progress());
        first.count(&piece(&[0, 0, 0, 0, 9, 1, 2, 3])).unwrap();
        first.count(&piece(&[4, 5])).unwrap();
        assert_eq!(budget.available_permits(), 10);
        second.count(&piece(&[0, 0, 0, 0, 30, 1, 2, 3])).unwrap();
        assert!(second.count(&piece(&[4, 5, 6])).is_err());
        whole.count(&piece(&[0, 0, 0, 0, 3, 1, 2, 3])).unwrap();
        first.count(&piece(&[6, 7, 8, 9])).unwrap();
        assert_eq!(budget.available_permits(), 12);
        drop(second);
        assert_eq!(budget.available_permits(), 20);
    }
}

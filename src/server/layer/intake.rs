//! Bounds the memory of requests that have not arrived in full: a request that comes in pieces waits until its whole
//! length fits into what all of them may take together, and must then arrive in time. What arrives at once, as nearly
//! all do, passes without being counted. Only the first message of a call is looked at.

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
use tokio_util::sync::PollSemaphore;
use tonic::{Status, codegen::StdError};

use crate::model::{Error, Reason, limits};

/// Bytes of requests that may be on their way at a time, over all connections.
const MOST: usize = 128 << 20;
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
        self.inner.call(request.map(|body| Counted { body, progress: Progress::New(budget.clone()), patience: None }))
    }
}

/// A request's body.
pub struct Counted<B> {
    body: B,
    progress: Progress,
    patience: Option<Pin<Box<Sleep>>>,
}

enum Progress {
    /// Nothing has come yet.
    New(Arc<Semaphore>),
    /// Its first piece waits until there is room for all of it.
    Waiting { first: Frame<Bytes>, room: PollSemaphore, bytes: u32 },
    /// There is room for it.
    Admitted(#[expect(dead_code, reason = "held until the request is dropped")] OwnedSemaphorePermit),
    /// It came whole.
    Whole,
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
        let polled = this.poll_counted(cx);
        if polled.is_pending() && matches!(this.progress, Progress::Waiting { .. } | Progress::Admitted(_)) {
            let patience = this.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            ready!(patience.as_mut().poll(cx));
            return Poll::Ready(Some(Err(late())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.progress, Progress::Waiting { .. }) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    fn poll_counted(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        loop {
            if let Progress::Waiting { room, bytes, .. } = &mut self.progress {
                let permit = ready!(room.poll_acquire_many(cx, *bytes)).ok_or_else(late)?;
                if let Progress::Waiting { first, .. } =
                    std::mem::replace(&mut self.progress, Progress::Admitted(permit))
                {
                    return Poll::Ready(Some(Ok(first)));
                }
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose().map_err(Into::into)? else {
                return Poll::Ready(None);
            };
            let Progress::New(budget) = &self.progress else { return Poll::Ready(Some(Ok(frame))) };
            let Some(bytes) = missing(&frame) else {
                self.progress = Progress::Whole;
                return Poll::Ready(Some(Ok(frame)));
            };
            let room = PollSemaphore::new(budget.clone());
            self.progress = Progress::Waiting { first: frame, room, bytes };
        }
    }
}

/// The length of a message of which this first piece is only a part; None if the piece is all of it. What claims to be
/// longer than a request may be is refused further on, by whoever reads it.
fn missing(first: &Frame<Bytes>) -> Option<u32> {
    let most = limits::REQUEST_BYTES as u32;
    let data = first.data_ref()?;
    let Some(length) = data.get(1..PREFIX) else { return Some(most) };
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    (data.len() < PREFIX + length as usize).then_some(length.min(most))
}

fn late() -> StdError {
    let message = "the request did not arrive in full within 30 s: send it again, in smaller parts if the line is slow";
    Box::new(Status::from(Error::new(Reason::RequestInvalid, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_told_from_what_is_not() {
        let piece = |bytes: &'static [u8]| missing(&Frame::data(Bytes::from_static(bytes)));
        assert_eq!(piece(&[0, 0, 0, 0, 2, 7, 7]), None);
        assert_eq!(piece(&[0, 0, 0, 0, 2, 7]), Some(2));
        assert_eq!(piece(&[0, 0, 0]), Some(limits::REQUEST_BYTES as u32));
        assert_eq!(piece(&[0, 255, 255, 255, 255, 1]), Some(limits::REQUEST_BYTES as u32));
    }
}

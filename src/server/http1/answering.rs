//! What stands between the library and the layers, for one connection: notes when an answer is on its way, and takes those
//! that last out of the library's hands.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use http::{Method, Request, Response, Version};
use hyper::{body::Incoming, service::Service};
use tonic::body::Body;

use super::lasting::Lasts;
use crate::server::layer::Stack;

/// What the parts of one connection know of each other. They run in one task.
#[derive(Default)]
pub struct Shared {
    // An answer was given, and is not written in full yet.
    is_unwritten: AtomicBool,
    lasting: Mutex<Option<Response<Body>>>,
}

impl Shared {
    /// All that was given has been written.
    pub fn is_written(&self) {
        self.is_unwritten.store(false, Relaxed);
    }

    /// Whether an answer of ours is being written, or waits to be.
    pub fn writes(&self) -> bool {
        self.is_unwritten.load(Relaxed)
    }

    /// An answer that is to be written without the library.
    pub fn take_lasting(&self) -> Option<Response<Body>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The service of a connection.
pub struct Answering {
    /// What answers.
    pub stack: Arc<Stack>,
    /// With the connection.
    pub shared: Arc<Shared>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let may_last = request.version() == Version::HTTP_11 && request.method() == Method::GET;
        Answer { answer: self.stack.call(request), may_last, shared: Arc::clone(&self.shared) }
    }
}

/// An answer; never there if it lasts.
pub struct Answer {
    answer: <Stack as Service<Request<Incoming>>>::Future,
    may_last: bool,
    shared: Arc<Shared>,
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(answer) = ready!(Pin::new(&mut self.answer).poll(cx));
        // Behind an answer that still waits to be written, the library has to keep the order.
        if self.may_last && answer.extensions().get::<Lasts>().is_some() && !self.shared.writes() {
            *self.shared.lasting.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            return Poll::Pending;
        }
        self.shared.is_unwritten.store(true, Relaxed);
        Poll::Ready(Ok(answer))
    }
}

//! Tells the log of the process about calls: each at `debug`, a fault of the broker at `warn`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, uri::PathAndQuery};
use hyper::service::Service;
use tokio::time::Instant;
use tonic::{Code, body::Body};

/// The layer.
pub struct Trace<S>(pub S);

/// An answer that is told of.
pub struct Told<F> {
    answer: F,
    path: Option<PathAndQuery>,
    // Only if calls are told of at all: reading the clock is not free.
    begun: Option<Instant>,
}

impl<S, B> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Told<S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let path = request.uri().path_and_query().cloned();
        let begun = tracing::enabled!(tracing::Level::DEBUG).then(Instant::now);
        Told { answer: self.0.call(request), path, begun }
    }
}

impl<F> Future for Told<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(answer) = ready!(Pin::new(&mut self.answer).poll(cx));
        let path = self.path.as_ref().map(PathAndQuery::path).unwrap_or_default();
        let refused = answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
        if refused == Some(Code::Internal) {
            let message = answer.headers().get("grpc-message");
            tracing::warn!(method = ?path, ?message, "a call failed by a fault of the broker");
        } else if let Some(begun) = self.begun {
            let code = refused.unwrap_or(Code::Ok);
            let http = answer.status().as_u16();
            tracing::debug!(method = ?path, ?code, http, elapsed = ?begun.elapsed(), "call");
        }
        Poll::Ready(Ok(answer))
    }
}

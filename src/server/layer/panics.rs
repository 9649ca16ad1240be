//! Turns a panic into an answer: the caller learns that the broker is at fault, and nobody else is concerned.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode};
use hyper::service::Service;
use tonic::{Status, body::Body};

use crate::{
    model::{Error, Reason},
    server::{http::problem, routes::is_grpc},
};

const MESSAGE: &str = "a fault of the broker: tell its operator, whose log says more";

/// The layer.
pub struct Panics<S>(pub S);

/// An answer in any case.
pub struct Caught<F> {
    answer: F,
    is_grpc: bool,
}

impl<S, B> Service<Request<B>> for Panics<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Caught<S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let is_grpc = is_grpc(request.headers());
        Caught { answer: self.0.call(request), is_grpc }
    }
}

impl<F> Future for Caught<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = &mut self.answer;
        // The future is not polled again after a panic, so that nothing half-done is seen.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(answer).poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let said = panic.downcast_ref::<&str>().copied();
                let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                tracing::error!(panic = said.unwrap_or("of an unknown kind"), "a call panicked");
                Poll::Ready(Ok(match self.is_grpc {
                    true => Status::from(Error::new(Reason::Internal, MESSAGE)).into_http(),
                    false => problem(StatusCode::INTERNAL_SERVER_ERROR, MESSAGE),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::service::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered() {
        type Boxed = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;
        let panicking = Panics(service_fn(|_: Request<String>| -> Boxed { Box::pin(async { panic!("on purpose") }) }));
        let answer = panicking.call(Request::new(String::new())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let grpc = Request::builder().header("content-type", "application/grpc").body(String::new()).unwrap();
        let answer = panicking.call(grpc).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], (tonic::Code::Internal as i32).to_string().as_str());
    }
}

//! Puts what the gRPC library refuses by itself into the words of the contract.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, header};
use hyper::service::Service;
use tonic::{Code, Status, body::Body};

use crate::{model::limits, server::status};

/// The layer.
pub struct Refusals<S>(pub S);

/// An answer, restated if the library refused.
pub struct Restated<F>(F);

impl<S, B> Service<Request<B>> for Refusals<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Restated<S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        Restated(self.0.call(request))
    }
}

impl<F> Future for Restated<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(answer) = ready!(Pin::new(&mut self.0).poll(cx));
        // A refusal is told in the headers, as nothing else is sent; what went well has no status there.
        let code = answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
        let by_us = answer.headers().contains_key("grpc-status-details-bin");
        // The contract has other codes for these two; answers with any other keep their headers.
        if by_us || !matches!(code, Some(Code::OutOfRange | Code::Internal)) {
            return Poll::Ready(Ok(answer));
        }
        Poll::Ready(Ok(match Status::from_header_map(answer.headers()) {
            Some(refused) => {
                let mut restated = status::restate(refused, limits::REQUEST_BYTES).into_http();
                // It may have been asked over gRPC-Web.
                if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
                    restated.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
                }
                restated
            }
            None => answer,
        }))
    }
}

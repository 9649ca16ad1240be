//! Honours the deadline that a caller set (`grpc-timeout`), until the answer begins. An open stream is not cut: its
//! client watches its own clock and resets the stream, which ends it here.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use hyper::service::Service;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;

use crate::server::status;

/// The layer.
pub struct Deadline<S>(pub S);

/// An answer, or the end of the caller's patience.
pub struct Bounded<F> {
    answer: F,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Bounded<S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let sleep = patience(request.headers()).map(|patience| Box::pin(sleep(patience)));
        Bounded { answer: self.0.call(request), sleep }
    }
}

impl<F> Future for Bounded<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The answer first: one that is there counts, however late it is.
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer);
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| Ok(status::deadline_exceeded().into_http())),
            None => Poll::Pending,
        }
    }
}

/// What a caller says of its time (`grpc-timeout`): at most eight digits and a unit. What is malformed is no deadline.
pub fn patience(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get("grpc-timeout")?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(value * 3600)),
        b'M' => Some(Duration::from_secs(value * 60)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use hyper::service::service_fn;

    use super::*;

    fn headers(timeout: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), HeaderValue::from_str(timeout).unwrap())])
    }

    #[test]
    fn every_unit_and_nothing_else() {
        for (text, expected) in [
            ("3H", Some(Duration::from_secs(3 * 3600))),
            ("1M", Some(Duration::from_secs(60))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("82m", Some(Duration::from_millis(82))),
            ("2u", Some(Duration::from_micros(2))),
            ("9n", Some(Duration::from_nanos(9))),
            ("S", None),
            ("1", None),
            ("", None),
            ("-1S", None),
            ("123456789S", None),
            ("1x", None),
        ] {
            assert_eq!(patience(&headers(text)), expected, "{text:?}");
        }
        assert_eq!(patience(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline() {
        type Never = std::future::Pending<Result<Response<Body>, Infallible>>;
        let never = Deadline(service_fn(|_: Request<String>| -> Never { std::future::pending() }));
        let mut request = Request::new(String::new());
        *request.headers_mut() = headers("5S");
        let answer = never.call(request).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], (tonic::Code::DeadlineExceeded as i32).to_string().as_str());
    }
}

//! What this receiver answers. Prints what it takes.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::hub::Hub;
use crate::apps::output;

/// The largest message that is taken.
const BYTES: usize = 4 << 20;

/// Takes messages, or does not.
#[derive(Debug)]
pub struct Receiver {
    hub: Hub,
    is_on: AtomicBool,
}

impl Receiver {
    /// One that asks this hub.
    pub fn new(hub: Hub, is_on: bool) -> Self {
        Receiver { hub, is_on: is_on.into() }
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let (status, text) = match (&head.method, head.uri.path()) {
            (&Method::POST, "/event") if !self.is_on.load(SeqCst) => {
                (503, "This endpoint is switched off: GET /toggle_post_event switches it on".to_owned())
            }
            (&Method::POST, "/event") => match Limited::new(body, BYTES).collect().await {
                Ok(data) => {
                    let data = data.to_bytes();
                    // A message that nobody could read is not taken.
                    match output::line(String::from_utf8_lossy(&data)) {
                        Ok(()) => (200, "/event recieved data".to_owned()),
                        Err(error) => (500, format!("the message could not be printed: {error}")),
                    }
                }
                Err(error) => (400, format!("the body could not be read: {error}")),
            },
            (&Method::GET, "/event") => match self.hub.fetch().await {
                Ok(messages) => (200, format!("Following messages were waiting: {}", Value::from(messages))),
                Err(failure) => (502, failure.to_string()),
            },
            (&Method::GET, "/toggle_post_event") => {
                self.is_on.fetch_xor(true, SeqCst);
                (200, "Endpoint toggled".to_owned())
            }
            (_, "/event") => return other_method("GET, POST"),
            (_, "/toggle_post_event") => return other_method("GET"),
            _ => (404, "There are /event and /toggle_post_event".to_owned()),
        };
        say(status, &text)
    }
}

fn other_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = say(405, &format!("This endpoint takes {allowed}"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn say(status: u16, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(json!({ "message": text }).to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

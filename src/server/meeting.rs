//! Calls that may share a request with equal ones, where there are several brokers: they meet at one, the broker that works off
//! the subscriptions, whichever was asked. All others are answered where they are. Never decides what is equal.

use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tonic::{Status, body::Body};

use super::{forward::Forward, grpc::incoming};
use crate::model::{Error, Reason, limits::REQUEST_BYTES};

/// What precedes a message on the wire: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Sends a call on if it must meet others elsewhere; else it comes back, to be answered here.
pub async fn meet(forward: &Forward, request: Request<Body>) -> Result<Response<Body>, Request<Body>> {
    let (parts, body) = request.into_parts();
    // One byte more than is allowed comes through, so that whoever decodes it refuses it.
    let bytes = match Limited::new(body, PREFIX + REQUEST_BYTES + 1).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let refusal = match error.is::<LengthLimitError>() {
                true => {
                    let message = format!("the request has more than {REQUEST_BYTES} bytes: ask for less at a time");
                    Error::new(Reason::MessageTooLarge, message)
                }
                false => Error::new(Reason::RequestInvalid, "the call ended before its request came"),
            };
            return Ok(Status::from(refusal).into_http());
        }
    };
    let is_plain = parts.headers.get("grpc-encoding").is_none_or(|encoding| encoding == "identity");
    let meets = is_plain && bytes.get(PREFIX..).is_some_and(|message| !incoming::collapse_key(message).is_empty());
    let mut request = Request::from_parts(parts, Body::new(Full::new(bytes)));
    request.headers_mut().remove(header::CONTENT_LENGTH);
    if meets { Ok(forward.call(request).await.unwrap_or_else(|never| match never {})) } else { Err(request) }
}

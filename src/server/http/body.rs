//! Bodies of requests over plain HTTP: read in full, and bounded. Never looks at what they say.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};

use crate::model::{Error, Reason};

/// Reads a body of at most so many bytes. What says beforehand that it is larger is not read at all.
pub async fn read(headers: &HeaderMap, body: &mut Body, most: usize) -> Result<Bytes, Status> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.unwrap_or_default().max(body.size_hint().lower()) > most as u64 {
        return Err(too_large(most));
    }
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if parts.len() + whole.len() + data.len() > most {
            return Err(too_large(most));
        }
        // Nearly all come in one piece, and are not copied.
        if whole.is_empty() && parts.is_empty() {
            whole = data;
        } else {
            parts.extend_from_slice(&std::mem::take(&mut whole));
            parts.extend_from_slice(&data);
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

fn too_large(most: usize) -> Status {
    let message =
        format!("the body is too large: at most {most} bytes are allowed; publish a reference to where it lies");
    Error::new(Reason::MessageTooLarge, message).with("limit", most).into()
}

/// A refusal of ours stays what it is; else the connection broke, or what came was no HTTP.
fn broken(error: Status) -> Status {
    match error.details().is_empty() {
        false => error,
        true => {
            Error::new(Reason::RequestInvalid, "the body ended too early, or is not encoded as its headers say").into()
        }
    }
}

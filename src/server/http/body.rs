//! Bodies of requests over plain HTTP: read in full, and bounded. One that is compressed is refused. Never looks at what
//! they say.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};

use crate::model::{Error, Reason};

/// Reads a body of at most so many bytes. What says beforehand that it is larger is not read at all.
pub async fn read(headers: &HeaderMap, body: &mut Body, most: usize) -> Result<Bytes, Status> {
    check_coding(headers)?;
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

/// Refuses what would have to be unpacked: nobody who receives it could know.
fn check_coding(headers: &HeaderMap) -> Result<(), Error> {
    for (name, plain) in [(header::CONTENT_ENCODING, "identity"), (header::TRANSFER_ENCODING, "chunked")] {
        let codings = headers.get_all(&name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let mut codings = codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
        if let Some(coding) = codings.find(|coding| !coding.eq_ignore_ascii_case(plain.as_bytes())) {
            let coding = String::from_utf8_lossy(coding);
            let message =
                format!("the body is encoded: {name} is {coding:?}, and only {plain} is taken; send it as it is");
            return Err(Error::new(Reason::ContentTypeInvalid, message));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_would_have_to_be_unpacked_is_refused() {
        let check = |name: http::HeaderName, value: &'static str| {
            check_coding(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))])).is_ok()
        };
        assert!(check(header::CONTENT_ENCODING, "identity") && check(header::TRANSFER_ENCODING, "Chunked"));
        for (name, value) in [
            (header::CONTENT_ENCODING, "gzip"),
            (header::CONTENT_ENCODING, "identity, br"),
            (header::TRANSFER_ENCODING, "gzip, chunked"),
        ] {
            assert!(!check(name, value), "{value}");
        }
    }
}

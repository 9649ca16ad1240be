//! What the streams that are served by hand share: reading messages, and the frames of an answer. Never knows what they
//! say.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use prost::Message;
use tonic::{Status, codec::Streaming, codegen::StdError};

use super::codec::{Decoder, Read};
use crate::model::limits;

/// The gRPC prefix of a message: a flag (not compressed) and its length.
pub const PREFIX_BYTES: usize = 5;

/// The messages of a call's request.
pub fn requests<B, M>(request: Request<B>) -> Result<Streaming<M>, Status>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
    M: Read + Send + 'static,
{
    if let Some(encoding) = request.headers().get("grpc-encoding").filter(|encoding| *encoding != "identity") {
        return Err(Status::unimplemented(format!(
            "requests are not taken compressed ({encoding:?}): send them plain"
        )));
    }
    let decoder = Decoder::<M>::default();
    Ok(Streaming::new_request(decoder, request.into_body(), None, Some(limits::REQUEST_BYTES)))
}

/// An answer that goes on as long as its body.
pub fn answer<B>(body: B) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes, Error = Status> + Send + 'static,
{
    let mut response = Response::new(tonic::body::Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The status as what ends an answer.
pub fn trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::with_capacity(4);
    status.add_header(&mut trailers)?;
    Ok(trailers)
}

/// A buffer of exactly the size of one gRPC message with so many bytes; the prefix is there already.
pub fn frame(length: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("the broker bounds a response far below 4 GiB"));
    out
}

/// One gRPC message.
pub fn framed(message: &impl Message) -> Bytes {
    let mut out = frame(message.encoded_len());
    message.encode_raw(&mut out);
    out.freeze()
}

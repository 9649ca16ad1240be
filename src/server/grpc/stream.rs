//! What the streams that are served by hand share: reading messages, and the body of an answer. Never knows what they
//! say.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
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

/// What is answered on a stream. Dropping it is all the cleanup there is.
pub trait Answers: Send + Unpin + 'static {
    /// The next frame; none where the stream ends as it was meant to. Not polled any more after that, or an error.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>>;
}

/// An answer that goes on as long as there is anything to be answered.
pub fn answer(answers: impl Answers) -> Response<tonic::body::Body> {
    let mut response = Response::new(tonic::body::Body::new(AnswerBody(Some(answers))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The frames, then the status as trailers. None once the status has been sent.
struct AnswerBody<A>(Option<A>);

impl<A: Answers> Body for AnswerBody<A> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(answers) = &mut self.0 else { return Poll::Ready(None) };
        let status = match ready!(answers.poll_frame(cx)) {
            Ok(Some(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Ok(None) => Status::ok(""),
            Err(status) => status,
        };
        self.0 = None;
        Poll::Ready(Some(trailers(&status).map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The status as what ends an answer.
fn trailers(status: &Status) -> Result<HeaderMap, Status> {
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

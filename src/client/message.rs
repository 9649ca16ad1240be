//! Short ways to write down what is to be published. Whatever else a message may have are fields of the contract's type.

use bytes::Bytes;

use crate::pb::v1::{Message, PublishRequest, message, publish_request};

impl PublishRequest {
    /// A message of text, which tools show as it is.
    pub fn text(topic: impl Into<String>, text: impl Into<String>) -> Self {
        let payload = Some(publish_request::Payload::Text(text.into()));
        PublishRequest { topic: topic.into(), payload, ..PublishRequest::default() }
    }

    /// A message of bytes.
    pub fn data(topic: impl Into<String>, data: impl Into<Bytes>) -> Self {
        let payload = Some(publish_request::Payload::Data(data.into()));
        PublishRequest { topic: topic.into(), payload, ..PublishRequest::default() }
    }
}

impl Message {
    /// The payload's bytes, whether it was published as text or as data.
    pub fn bytes(&self) -> &[u8] {
        match &self.payload {
            Some(message::Payload::Text(text)) => text.as_bytes(),
            Some(message::Payload::Data(data)) => data,
            None => &[],
        }
    }
}

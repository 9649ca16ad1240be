//! What is said of a message that was handed to a consumer: which delivery is meant, and what became of it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Error, Reason, Result, Sequence};

/// One delivery of one message, as its consumer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckId {
    /// Tells the subscription from others, and from an earlier one of the same name.
    pub subscription: u32,
    /// The message.
    pub sequence: Sequence,
    /// Tells this delivery from others of the same message.
    pub lease: u32,
}

/// Characters of an encoded one.
pub const ACK_ID_LENGTH: usize = 22;
const BYTES: usize = 16;

impl AckId {
    /// URL-safe text of [`ACK_ID_LENGTH`] characters.
    pub fn encode(&self) -> [u8; ACK_ID_LENGTH] {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&self.subscription.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[12..].copy_from_slice(&self.lease.to_le_bytes());
        let mut text = [0; ACK_ID_LENGTH];
        URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).expect("16 bytes are 22 characters");
        text
    }

    /// Takes back what [`AckId::encode`] made.
    pub fn parse(text: &str) -> Result<Self> {
        let mut bytes = [0; BYTES];
        // Longer text is refused by the decoder, as it does not fit.
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        if length != Ok(BYTES) {
            let message = "not an ack_id of this broker: pass one back exactly as it was received";
            return Err(Error::new(Reason::AckIdInvalid, message).field("settlements.ack_ids"));
        }
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let sequence = u64::from_le_bytes(bytes[4..12].try_into().expect("eight bytes"));
        Ok(AckId { subscription: word(0), sequence: Sequence(sequence), lease: word(12) })
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, and never comes again.
    Ack,
    /// It failed: an attempt is counted. It comes again after `delay`, or when the retry policy says.
    Nack {
        /// Until it comes again.
        delay: Option<Duration>,
    },
    /// It goes back, and nothing is counted. It comes again after `delay`, or at once.
    Release {
        /// Until it comes again.
        delay: Option<Duration>,
    },
    /// It is to be given up now.
    Reject,
    /// It is still worked on, as long as this from now on; the subscription's ack deadline if nothing is said.
    Extend {
        /// From now on.
        by: Option<Duration>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_as_it_went(subscription: u32, sequence: u64, lease: u32) {
            let id = AckId { subscription, sequence: Sequence(sequence), lease };
            let text = String::from_utf8(id.encode().to_vec()).unwrap();
            prop_assert_eq!(AckId::parse(&text).unwrap(), id);
        }

        #[test]
        fn anything_else_is_refused_or_an_id(text in ".{0,40}") {
            match AckId::parse(&text) {
                Ok(id) => prop_assert_eq!(&id.encode()[..], text.as_bytes()),
                Err(error) => prop_assert_eq!(error.reason(), Reason::AckIdInvalid),
            }
        }
    }
}

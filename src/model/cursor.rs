//! Where a reader stands: which log, and after which message.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Error, Reason, Result, Sequence};

/// Tells one log from every other, also from an earlier one of the same namespace. Random, made with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

/// A position that a client may keep and come back with: valid for every pattern of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The log that the position belongs to.
    pub log: LogId,
    /// Everything up to here has been dealt with.
    pub after: Sequence,
    /// Nothing was dealt with: the log had not come so far, and its reader waited for what comes behind.
    pub waits: bool,
}

/// The first byte of an encoded cursor, and of one that waits; a later form takes another.
const VERSION: u8 = 1;
const WAITING: u8 = 2;
const BYTES: usize = 17;

impl Cursor {
    /// URL-safe text of 23 characters.
    pub fn encode(&self) -> String {
        let mut bytes = [if self.waits { WAITING } else { VERSION }; BYTES];
        bytes[1..9].copy_from_slice(&self.log.0.to_le_bytes());
        bytes[9..].copy_from_slice(&self.after.0.to_le_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Takes back what [`Cursor::encode`] made.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            let message = "not a cursor of this broker: pass one back exactly as it was received";
            Error::new(Reason::CursorInvalid, message).field("start.after_cursor")
        };
        let mut bytes = [0; BYTES];
        // Longer text is refused by the decoder, as it does not fit.
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| invalid())?;
        let waits = match bytes[0] {
            VERSION if length == BYTES => false,
            WAITING if length == BYTES => true,
            _ => return Err(invalid()),
        };
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Ok(Cursor { log: LogId(number(1)), after: Sequence(number(9)), waits })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_as_it_went(log: u64, after: u64, waits: bool) {
            let cursor = Cursor { log: LogId(log), after: Sequence(after), waits };
            let text = cursor.encode();
            prop_assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            prop_assert_eq!(Cursor::parse(&text).unwrap(), cursor);
        }

        #[test]
        fn anything_else_is_refused_or_a_cursor(text in ".{0,40}") {
            if let Ok(cursor) = Cursor::parse(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}

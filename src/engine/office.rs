//! What only one of the brokers that share an engine may do at a time: whoever holds the office does it. Never says what
//! that is.

use tokio::sync::watch;

use super::BoxFuture;

/// The office. There is one an engine that several brokers share.
pub trait Office: Send + Sync + 'static {
    /// Whether this broker holds it, for certain, at this moment. Asked often: it looks at a clock, and asks nobody.
    fn is_mine(&self) -> bool;

    /// Who holds it, as far as this broker has heard, and when that changes.
    fn holder(&self) -> watch::Receiver<Holder>;

    /// Gives it away, if it is held, and does not take it again: the broker stops.
    fn leave(&self) -> BoxFuture<'_, ()>;
}

/// Who holds an office.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, or it is not known who.
    #[default]
    Nobody,
    /// This broker, in its term of that number: whoever has it again has not had it all the time.
    Me(u64),
    /// Another one, that can be reached there.
    Other(String),
}

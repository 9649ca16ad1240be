//! Durable subscriptions: the broker remembers what was settled, and consumers come and go. In reading order: which there
//! are and how they are changed (`catalog`, `entries` as they are found, `stored` as they lie in the state), one of them as it is served (`hub`, `locked`), what is handed out (`dispatch`), to whom
//! (`session`, `window`, `rate`, `work` for whoever takes it once, and `early` for also what backs off), what is said of
//! it (`settle`), what happens by itself (`upkeep`, `backlog`, `burial`, `idle`), what is sent on without being asked for
//! (`push`), where a message stands (`explain`), and waiting for what becomes of it (`onlookers`), how one moves to another
//! broker (`moving`), and who decides all of it (`ledger`).

mod backlog;
mod burial;
pub mod catalog;
mod dispatch;
mod early;
mod entries;
mod explain;
mod hub;
mod idle;
mod inner;
mod ledger;
pub(super) mod letter;
mod locked;
mod moving;
mod onlookers;
mod push;
mod rate;
mod redrive;
mod session;
mod settle;
mod stored;
mod upkeep;
mod window;
mod work;

pub use catalog::{Described, SubscriptionChange};
pub use dispatch::Delivery;
pub(super) use entries::Entries;
pub use explain::{Explanation, Standing};
pub use hub::Pause;
pub use ledger::{Counts, Kind, OpenRun, Progress};
pub use push::{PushAttempt, Pushing, Resend};
pub use redrive::Redrive;
pub use session::{Attach, Attached, Consumed, Session};
pub use settle::Word;
pub use window::FlowControl;
pub use work::{Pull, Pulled};

use crate::model::{NamespaceName, SubscriptionName};

/// Where the state keeps a subscription's ledger.
fn ledger_key(namespace: &NamespaceName, name: &SubscriptionName) -> String {
    format!("ledger/{namespace}/{name}")
}

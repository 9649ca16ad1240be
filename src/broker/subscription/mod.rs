//! Durable subscriptions: which there are, and what each does. In reading order: the catalog keeps their specifications
//! ([`catalog`], `entries` as they are found and `stored` as they lie in the state), and each has a hub that delivers
//! (`hub`).

pub mod catalog;
mod entries;
mod hub;
mod stored;

pub use catalog::{Described, SubscriptionChange};
pub(super) use entries::Entries;

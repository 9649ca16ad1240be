//! Webhooks: messages that are sent on by HTTP. In reading order: who sends for which subscription (`webhooks`), how one is
//! worked off (`pusher`), what is sent of a message (`request`) and how it is signed (`sign`), how it goes out (`client`)
//! and to which addresses (`resolver`), and what an answer means (`outcome`).
//!
//! `src/docs/webhooks.md` is what receivers see of it.

mod client;
mod outcome;
mod pusher;
mod request;
mod resolver;
mod sign;
mod webhooks;

pub use webhooks::Webhooks;

//! What is written about Tilde for people, as it stands beside the code.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("calls.md")]
pub mod calls {}

#[doc = include_str!("delivery.md")]
pub mod delivery {}

#[doc = include_str!("events.md")]
pub mod events {}

#[doc = include_str!("files.md")]
pub mod files {}

#[doc = include_str!("gateway.md")]
pub mod gateway {}

#[doc = include_str!("http.md")]
pub mod http {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("scaling.md")]
pub mod scaling {}

#[doc = include_str!("schemas.md")]
pub mod schemas {}

#[doc = include_str!("webhooks.md")]
pub mod webhooks {}

/// Its examples in Rust are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}

/// What was decided, where it is hard to take back: a page each.
pub mod decisions {
    #[doc = include_str!("decisions/0001-our-own-log.md")]
    pub mod d0001 {}

    #[doc = include_str!("decisions/0002-disk-bytes-are-wire-bytes.md")]
    pub mod d0002 {}

    #[doc = include_str!("decisions/0003-the-writer-gives-sequences.md")]
    pub mod d0003 {}

    #[doc = include_str!("decisions/0004-the-ceiling-follows-from-the-size.md")]
    pub mod d0004 {}

    #[doc = include_str!("decisions/0005-everything-is-verified-at-opening.md")]
    pub mod d0005 {}

    #[doc = include_str!("decisions/0006-subscribe-has-a-body-of-its-own.md")]
    pub mod d0006 {}

    #[doc = include_str!("decisions/0007-filters.md")]
    pub mod d0007 {}

    #[doc = include_str!("decisions/0008-numbers-lie-behind-the-records.md")]
    pub mod d0008 {}

    #[doc = include_str!("decisions/0009-the-ledger-remembers-what-is-open.md")]
    pub mod d0009 {}

    #[doc = include_str!("decisions/0010-scheduled-messages-lie-in-the-log.md")]
    pub mod d0010 {}

    #[doc = include_str!("decisions/0011-a-stream-is-one-log-for-all-brokers.md")]
    pub mod d0011 {}

    #[doc = include_str!("decisions/0012-plain-http-asks-the-contract-from-within.md")]
    pub mod d0012 {}

    #[doc = include_str!("decisions/0013-replies-are-messages.md")]
    pub mod d0013 {}

    #[doc = include_str!("decisions/0014-schemas-are-small-values.md")]
    pub mod d0014 {}

    #[doc = include_str!("decisions/0015-several-of-a-key-are-out-at-one-consumer.md")]
    pub mod d0015 {}
}

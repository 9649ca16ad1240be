//! The attacks, by name.

use std::net::SocketAddr;

use anyhow::Result;
use clap::ValueEnum;

use super::{connections, grpc, http2, lines, tally::Tally};
use crate::load::target::Target;

/// One kind of bad input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// A good call, cut after each of its bytes.
    Truncated,
    /// Random bytes, with and without an HTTP/2 greeting before them.
    Random,
    /// A good call with some of its bits turned.
    Flipped,
    /// A TLS greeting to a port that has no TLS.
    Tls,
    /// HTTP/1 requests that are none.
    Http1,
    /// Topics that are too long, empty, or hold what they must not.
    Names,
    /// Bytes that are no UTF-8 where protobuf wants strings.
    Utf8,
    /// Random bytes as requests.
    Protobuf,
    /// Messages of 100 MB.
    Large,
    /// Frames and messages that announce far more than is allowed.
    Announced,
    /// Requests of which the last byte never comes.
    HalfSent,
    /// Headers that are too large or too many, once sent and once unfolded from a small table.
    Headers,
    /// A header block that never ends.
    Continuation,
    /// Pings and settings without end, their answers unread.
    Floods,
    /// Ten thousand calls that are opened and reset in one breath.
    RapidReset,
    /// Ten thousand streams that are opened in good order and dropped.
    Dropped,
    /// Ten thousand calls on one connection that never send their request.
    Unfinished,
    /// Calls that give the answer no room.
    NoWindow,
    /// Ten thousand connections that say nothing, or half a greeting.
    HalfOpen,
}

impl Attack {
    /// Does it, and counts what came of it.
    pub async fn run(self, target: &Target, address: SocketAddr, seed: u64) -> Result<Tally> {
        match self {
            Attack::Truncated => lines::truncated(address).await,
            Attack::Random => lines::random(address, seed).await,
            Attack::Flipped => lines::flipped(address, seed).await,
            Attack::Tls => lines::tls(address).await,
            Attack::Http1 => lines::http1(address).await,
            Attack::Names => grpc::names(target).await,
            Attack::Utf8 => grpc::utf8(target).await,
            Attack::Protobuf => grpc::protobuf(target, seed).await,
            Attack::Large => grpc::large(target).await,
            Attack::Announced => http2::announced(address).await,
            Attack::HalfSent => grpc::half_sent(target).await,
            Attack::Headers => http2::headers(address).await,
            Attack::Continuation => http2::continuation(address).await,
            Attack::Floods => http2::floods(address).await,
            Attack::RapidReset => http2::rapid_reset(address).await,
            Attack::Dropped => grpc::dropped(target).await,
            Attack::Unfinished => http2::unfinished(address).await,
            Attack::NoWindow => http2::no_window(address).await,
            Attack::HalfOpen => connections::half_open(target, address).await,
        }
    }
}

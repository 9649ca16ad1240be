//! The generated code, named in one place. `build.rs` makes it from `proto/`; nothing of it is in git.

/// The contract: messages and clients.
#[allow(missing_docs, rustdoc::all, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/client/tilde.v1.rs"));
}

/// The servers, over the messages of [`v1`], with the codec of `server::grpc`. Without the streams of `Broker`.
#[allow(missing_docs, rustdoc::all, clippy::all, unreachable_pub)]
pub(crate) mod server {
    include!(concat!(env!("OUT_DIR"), "/server/tilde.v1.rs"));
}

/// The contract's descriptors with comments and imports, encoded: for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use tonic_health::pb as health;

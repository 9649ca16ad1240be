//! What the bench's back end answers to a path, so that whoever asked knows what to expect. Pure.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The statuses that are answered.
const STATUSES: [u16; 5] = [200, 201, 404, 409, 500];
/// The largest body.
const BYTES: usize = 2 << 10;

/// The status and the body that belong to a path: any bytes, line ends too, of any length up to 2 KiB.
pub fn expected(path: &str) -> (u16, Bytes) {
    let seed = Sha256::digest(path);
    let status = STATUSES[usize::from(seed[0]) % STATUSES.len()];
    let length = 1 + usize::from(u16::from_be_bytes([seed[1], seed[2]])) % BYTES;
    let body = seed.iter().cycle().take(length).copied().collect::<Vec<u8>>();
    (status, body.into())
}

/// The same as a back end writes it.
pub fn written(path: &str) -> Vec<u8> {
    let (status, body) = expected(path);
    [format!("{status}\n").as_bytes(), &body].concat()
}

/// The path that a request asks for, as a back end reads it.
pub fn path(request: &[u8]) -> Option<&str> {
    std::str::from_utf8(request).ok()?.lines().nth(1)
}

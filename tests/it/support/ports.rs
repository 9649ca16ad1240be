//! Ports on loopback that are known before somebody listens there, and that stay free between two who do: the system gives
//! none of them to whoever asks for any, nor to a connection on its way out.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below what Linux and macOS give away by themselves (32,768 and more), above what well-known servers use.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A port where nobody listens. No test of this run gets it a second time.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs beside each other begin at different places.
    let begin = std::process::id().wrapping_mul(2_654_435_761) >> 16;
    let port = || FIRST + (begin + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))).rem_euclid(COUNT.into()) as u16;
    (0..COUNT).map(|_| port()).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("ports are left")
}

/// The same as an address.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

//! On which engine the brokers of the tests run: the one that a test asks for, or JetStream for all of them if
//! `TILDE_TEST_ENGINE=jetstream` says so, as in the second run of `tests/run`. Then each directory has a NATS server of its
//! own, which outlives its brokers.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::nats::Nats;

/// What a broker logs when it works off the subscriptions.
pub const WORKS: &str = "this broker works off the subscriptions from now on";
/// Longer than a term.
const PATIENCE: Duration = Duration::from_secs(30);

/// The servers, by the directory of their brokers.
static SERVERS: LazyLock<Mutex<HashMap<PathBuf, Nats>>> = LazyLock::new(Mutex::default);

/// The arguments of a broker, with another engine if that was asked for.
pub fn chosen(directory: &Path, args: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let is_asked = env::var("TILDE_TEST_ENGINE").is_ok_and(|engine| engine == "jetstream");
    if is_asked && !args.iter().any(|arg| arg == "jetstream") {
        if let Some(at) = args.iter().position(|arg| arg == "--engine") {
            args.drain(at..at + 2);
        }
        let mut servers = SERVERS.lock().unwrap();
        let nats = servers.entry(directory.to_owned()).or_insert_with(|| Nats::start_in(directory.join("nats")));
        args.extend(["--engine".into(), "jetstream".into(), "--nats".into(), nats.urls().remove(0)]);
    }
    args
}

/// Waits until the broker works off its subscriptions, which it says behind so many bytes of the log: the one before it
/// may have been killed, and has its term.
pub fn settle(directory: &Path, before: usize) {
    if SERVERS.lock().unwrap().contains_key(directory) {
        let log = directory.join("stderr");
        let begin = Instant::now();
        while !fs::read_to_string(&log).is_ok_and(|log| log[before..].contains(WORKS)) {
            assert!(begin.elapsed() < PATIENCE, "it does not work off the subscriptions");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A directory is not used any more.
pub fn forget(directory: &Path) {
    SERVERS.lock().unwrap().remove(directory);
}

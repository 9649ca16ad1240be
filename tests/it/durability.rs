//! What the embedded engine promises, through the real binary and from outside: nothing that was answered is lost,
//! changed, moved or doubled, however the broker ends and whatever the disk does.
//!
//! Short by default; with `TILDE_CAMPAIGN` in the environment the numbers in `rounds` are the large ones.

mod broken_disk;
mod client;
mod crashes;
mod damage;
mod full_disk;
mod keys;
mod ledger;
mod load;
mod removed;
mod restart;
mod schedule;
mod work;

use std::{fs, path::Path, time::Duration};

use self::client::{Client, ended_with, message};
use crate::support::{
    Tilde,
    dice::{Dice, rounds},
};

/// Longer than anything takes: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// The segments of a namespace's log, oldest first, with their bytes.
fn segments(directory: &Path, namespace: &str) -> Vec<(String, Vec<u8>)> {
    let logs = directory.join("data/logs").join(namespace);
    let names = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), fs::read(logs.join(name)).unwrap())).collect()
}

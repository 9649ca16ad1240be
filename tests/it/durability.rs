//! What the embedded engine promises, through the real binary and from outside: nothing that was answered is lost,
//! changed, moved or doubled, however the broker ends and whatever the disk does.
//!
//! Short by default; with `TILDE_CAMPAIGN` in the environment the numbers in `rounds` are the large ones.

mod broken_disk;
mod client;
mod crashes;
mod damage;
mod full_disk;
mod ledger;
mod load;
mod restart;

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use self::client::{Client, ended_with, message};
use crate::support::Tilde;

/// Longer than anything takes: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many rounds: few in every run, many in a campaign.
fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("TILDE_CAMPAIGN").is_some() { many } else { few }
}

/// Chance that can be had again: SplitMix64.
struct Dice(u64);

impl Dice {
    /// Cast anew in every run; what fails prints the seed, which may be written here.
    fn new() -> Self {
        let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        eprintln!("the dice begin with {seed}");
        Dice(seed)
    }

    /// Dice of their own, for another task.
    fn split(&mut self) -> Self {
        Dice(self.roll(u64::MAX))
    }

    /// A number below `most`.
    fn roll(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    /// Whether it happens, one time in `of`.
    fn hits(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }
}

/// The segments of a namespace's log, oldest first, with their bytes.
fn segments(directory: &Path, namespace: &str) -> Vec<(String, Vec<u8>)> {
    let logs = directory.join("data/logs").join(namespace);
    let names = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), fs::read(logs.join(name)).unwrap())).collect()
}

//! Chance, and how much of it: a little in every run, much in a campaign.

use std::time::SystemTime;

/// How many rounds: few in every run, many in a campaign.
pub fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("TILDE_CAMPAIGN").is_some() { many } else { few }
}

/// Chance that can be had again: SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// Cast anew in every run; what fails prints the seed, which may be written here.
    pub fn new() -> Self {
        let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        eprintln!("the dice begin with {seed}");
        Dice(seed)
    }

    /// The same in every run.
    pub fn of(seed: u64) -> Self {
        Dice(seed)
    }

    /// Dice of their own, for another task.
    pub fn split(&mut self) -> Self {
        Dice(self.roll(u64::MAX))
    }

    /// A number below `most`.
    pub fn roll(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    /// Whether it happens, one time in `of`.
    pub fn hits(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }
}

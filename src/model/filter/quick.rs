//! A hasher for texts that come by with every message: a few steps for a short text. It keeps nobody from choosing texts
//! that collide; whoever does makes his own namespace's lookups as slow as trying one text after the other.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Values by texts.
pub type TextMap<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<Quick>>;

/// Eight bytes a step: add, multiply by an odd number, fold the high half into the low one, as multiplying leaves its
/// mixing there.
#[derive(Debug, Default)]
pub struct Quick(u64);

/// 2^64 divided by the golden ratio, made odd: no pattern of text repeats in it.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Quick {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    // The length of a text comes before it.
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64 + 1);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_that_differ_little_are_apart() {
        let hash = |text: &str| {
            let mut hasher = Quick::default();
            std::hash::Hash::hash(text.as_bytes(), &mut hasher);
            hasher.finish()
        };
        let texts: Vec<_> = (0..20_000).flat_map(|n| [format!("type-{n}"), format!("{n}/a/long/topic/{n}")]).collect();
        let hashes: HashSet<_> = texts.iter().map(|text| hash(text)).collect();
        assert_eq!(hashes.len(), texts.len());
        // A map looks at the low bits first, and at the highest seven.
        let low: HashSet<_> = hashes.iter().map(|hash| hash % 4096).collect();
        let high: HashSet<_> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!((low.len(), high.len()), (4096, 128));
        assert_ne!(hash("a"), hash("a\0"));
    }
}

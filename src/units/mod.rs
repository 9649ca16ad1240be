//! Sizes, durations and positions as people write them: `64MiB`, `1h30m`, `earliest`. Never guesses a unit.

mod start;

pub use start::Start;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes. Written as `64MiB`, or as a plain number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A length of time. Written as `15s`, `500ms`, `1h30m`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// The larger first: that is the order in which [`Size`] looks for one that fits.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// The larger first: that is the order in which [`Span`] is written. In nanoseconds.
const SPANS: [(&str, u128); 8] = [
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a length of time that is not nothing.
pub fn above_zero(text: &str) -> Result<Duration, String> {
    match text.parse()? {
        Span(Duration::ZERO) => Err("write a duration above zero, as in 10s".into()),
        Span(length) => Ok(length),
    }
}

impl Size {
    /// As many as memory could hold, for APIs that count in `usize`.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write a whole number and a unit, as in 512KiB, 64MiB or 1GiB");
        let (number, unit) = split(text.trim());
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = match unit.trim() {
            "" => 1,
            unit => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
        };
        number.checked_mul(unit).map(Size).ok_or_else(|| format!("{text:?} is more than there can be"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &u64| self.0 > 0 && self.0.is_multiple_of(*unit);
        let binary = SIZES.iter().filter(|(name, _)| name.len() != 2);
        let (name, unit) = binary.clone().find(|(_, unit)| whole(unit)).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no duration: write whole numbers with units (w, d, h, m, s, ms), as in 15s, 1h30m or 7d"
            )
        };
        let mut nanos: u128 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, after) = split(rest);
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let unit = after[..end].trim();
            let (_, unit) = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            nanos = nanos.saturating_add(u128::from(number) * unit);
            rest = &after[end..];
        }
        let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| wrong())?;
        Ok(Span(Duration::new(seconds, (nanos % 1_000_000_000) as u32)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        // Weeks are read, but seven days say more to most.
        for (name, unit) in &SPANS[1..] {
            if nanos >= *unit {
                write!(f, "{}{name}", nanos / unit)?;
                nanos %= unit;
            }
        }
        Ok(())
    }
}

/// The digits in front, and what follows them.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size as in \"64MiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not below zero"))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as in \"15s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_above_zero() {
        assert!(above_zero("0s").is_err() && above_zero("5").is_err());
        assert_eq!(above_zero("5s"), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn what_people_write() {
        for (text, bytes) in [("0", 0), ("17", 17), ("64MiB", 64 << 20), ("1 gib", 1 << 30), ("2kB", 2000)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for (text, millis) in [("15s", 15_000), ("1h30m", 5_400_000), ("500ms", 500), ("1w1d", 691_200_000), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "MiB", "64M", "-1", "1.5GiB", "99999999TiB", "x"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "15", "s", "1.5h", "-1s", "3 fortnights", "1h30"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(bytes: u64, seconds in 0..1u64 << 40, nanos in 0..1_000_000_000u32) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
            let span = Span(Duration::new(seconds, nanos));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = (text.parse::<Size>(), text.parse::<Span>());
        }
    }
}

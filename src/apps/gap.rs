//! What a person is told of messages that will never come.

use crate::pb::v1::{Gap, gap::Reason};

/// Why a durable subscription skips.
pub const FULL: &str = "as the backlog was full";

/// A gap in words. `skipped` says who asked for it, if it was skipped.
pub fn sentence(gap: &Gap, skipped: &str) -> String {
    let range = match (gap.first_sequence, gap.last_sequence) {
        (0, 0) => "an unknown number of messages is missing".to_owned(),
        (first, last) => format!("what matched between sequences {first} and {last} is missing"),
    };
    let why = match gap.reason() {
        Reason::Skipped => &format!("skipped, {skipped}"),
        Reason::Retention => "it was removed before it could be read",
        Reason::LogReplaced => "the position belongs to another log, or to a part that a crash cut off",
        Reason::Unspecified => "the broker does not say why",
    };
    format!("gap: {range}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_in_words() {
        let told = |reason: Reason, first_sequence, last_sequence| {
            sentence(&Gap { reason: reason.into(), first_sequence, last_sequence }, "as was asked for")
        };
        assert!(told(Reason::Retention, 3, 9).contains("between sequences 3 and 9 is missing: it was removed"));
        assert!(told(Reason::LogReplaced, 0, 0).contains("unknown number"));
        assert!(told(Reason::Skipped, 3, 9).ends_with("skipped, as was asked for"));
    }
}

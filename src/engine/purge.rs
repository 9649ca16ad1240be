//! What was purged: hidden from readers at once, though the bytes go only with their segment.

use crate::model::{Pattern, Sequence};

/// The marks of one log. Reads ask them; they never grow beyond what the log still keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeMarks {
    marks: Vec<(Pattern, Sequence)>,
    last: Sequence,
}

impl PurgeMarks {
    /// Hides every message of topics that match `pattern`, up to and with `through`.
    pub fn add(&mut self, pattern: Pattern, through: Sequence) {
        self.last = self.last.max(through);
        match self.marks.iter_mut().find(|(known, _)| *known == pattern) {
            Some((_, known)) => *known = through.max(*known),
            None => self.marks.push((pattern, through)),
        }
    }

    /// Forgets what lies wholly before `first`.
    pub fn forget_before(&mut self, first: Sequence) {
        self.marks.retain(|(_, through)| *through >= first);
        self.last = self.marks.iter().map(|(_, through)| *through).max().unwrap_or_default();
    }

    /// Whether nothing from `from` on is hidden: then nobody needs to ask further.
    pub fn end_before(&self, from: Sequence) -> bool {
        self.last < from
    }

    /// The last hidden position of a topic; zero if nothing of it is hidden.
    pub fn hidden_through(&self, topic: &str) -> Sequence {
        let hiding = self.marks.iter().filter(|(pattern, _)| pattern.matches(topic));
        hiding.map(|(_, through)| *through).max().unwrap_or_default()
    }

    /// Whether a message is hidden. The topic is asked for only where it matters.
    pub fn hide<'a>(&self, sequence: Sequence, topic: impl FnOnce() -> &'a str) -> bool {
        !self.end_before(sequence) && self.hidden_through(topic()) >= sequence
    }

    /// The marks, for storing.
    pub fn iter(&self) -> impl Iterator<Item = &(Pattern, Sequence)> {
        self.marks.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_what_matches_up_to_the_mark_and_forgets_what_is_gone() {
        let mut marks = PurgeMarks::default();
        marks.add(Pattern::parse("a~").unwrap(), Sequence(5));
        marks.add(Pattern::parse("b").unwrap(), Sequence(9));
        assert!(marks.hide(Sequence(5), || "ab") && !marks.hide(Sequence(6), || "ab"));
        assert!(marks.hide(Sequence(9), || "b") && !marks.hide(Sequence(1), || "bc"));
        assert!(marks.end_before(Sequence(10)) && !marks.end_before(Sequence(9)));
        marks.forget_before(Sequence(6));
        assert!(!marks.hide(Sequence(5), || "ab") && marks.hide(Sequence(9), || "b"));
    }
}

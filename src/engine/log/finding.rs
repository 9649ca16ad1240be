//! What is to be said about the files of a log, and how bad it is. Pure.

use std::fmt;

use super::{
    examine::{Examined, IndexState, State, file_name},
    survey::Survey,
};
use crate::model::Sequence;

/// Something that is to be said about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file.
    pub file: String,
    /// Where in it.
    pub offset: Option<u64>,
    /// How bad it is.
    pub kind: Kind,
    /// Which messages it cost.
    pub lost: Option<Lost>,
    /// What it is, in words.
    pub what: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The files are not as they were written.
    Damage,
    /// A crash left it, and opening cuts it off.
    Torn,
    /// Harmless.
    Note,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Damage => "damage",
            Kind::Torn => "torn",
            Kind::Note => "note",
        }
    }
}

/// Messages that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first sequence.
    pub first: Sequence,
    /// The last; None where nothing tells it.
    pub last: Option<Sequence>,
}

impl Lost {
    /// Those between two that are there, if there were any.
    fn between(before: Sequence, behind: Sequence) -> Option<Lost> {
        (before.next() < behind).then(|| Lost { first: before.next(), last: Some(behind.previous()) })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) if last == self.first => write!(f, "{last} is lost"),
            Some(last) => write!(f, "{} to {last} are lost", self.first),
            None => write!(f, "whatever had {} or a higher sequence is lost", self.first),
        }
    }
}

/// All that is to be said about segments, oldest first.
pub fn judge(segments: &[Examined]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut before = Sequence::ZERO;
    for (at, segment) in segments.iter().enumerate() {
        let judge = Judge { segment, before, next: segments.get(at + 1), findings: Vec::new() };
        findings.extend(judge.run());
        before = before.max(segment.last());
    }
    findings
}

/// What repairs left behind.
pub fn leftovers(mut files: Vec<String>) -> Vec<Finding> {
    files.retain(|file| file.contains(".log.damaged"));
    files.sort_unstable();
    let what = "set aside by a repair: nothing uses it any more";
    let note = |file| Finding { file, offset: None, kind: Kind::Note, lost: None, what: what.into() };
    files.into_iter().map(note).collect()
}

/// Judges one segment.
struct Judge<'a> {
    segment: &'a Examined,
    // The last sequence before it.
    before: Sequence,
    next: Option<&'a Examined>,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn run(mut self) -> Vec<Finding> {
        self.header();
        if let Some(survey) = &self.segment.survey {
            self.blocks(survey);
            match self.next {
                Some(next) => self.chain(survey, next),
                None => self.end(survey),
            }
            self.index(survey);
        }
        self.findings
    }

    fn find(&mut self, kind: Kind, offset: Option<u64>, lost: Option<Lost>, what: impl Into<String>) {
        self.findings.push(Finding { file: self.segment.file(), offset, kind, lost, what: what.into() });
    }

    fn header(&mut self) {
        let Some(fault) = &self.segment.fault else { return };
        if self.segment.survey.is_some() {
            let what = format!("{fault}; but its blocks match their checksums");
            return self.find(Kind::Damage, Some(0), None, what);
        }
        let lost = match self.next {
            Some(next) => Lost::between(self.before, told(next).map_or(next.first, Sequence::next)),
            None => Some(Lost { first: self.segment.first.max(self.before.next()), last: None }),
        };
        let what = format!("{fault}, and nothing else tells which of its bytes are blocks");
        self.find(Kind::Damage, Some(0), lost, what);
    }

    fn blocks(&mut self, survey: &Survey) {
        if survey.unreadable {
            self.find(Kind::Damage, None, None, "the disk cannot read a part of it");
        }
        if self.segment.state == State::Torn {
            return;
        }
        for hole in &survey.holes {
            let what = format!("{} bytes are not what was written", hole.range.end - hole.range.start);
            let lost = Lost::between(hole.before, hole.behind);
            self.find(Kind::Damage, Some(hole.range.start), lost, what);
        }
    }

    /// Whether the next segment goes on where this one ends.
    fn chain(&mut self, survey: &Survey, next: &Examined) {
        let last = self.segment.last();
        let told = told(next);
        if survey.junk {
            let lost = Lost::between(last, told.map_or(next.first, Sequence::next));
            let what = "what follows is not what was written";
            return self.find(Kind::Damage, Some(survey.end), lost, what);
        }
        match told {
            Some(told) if told > last => {
                let what = format!(
                    "it ends with {last}, but {} goes on after {told}: its end was cut off, or files are missing",
                    next.file()
                );
                self.find(Kind::Damage, Some(survey.end), Lost::between(last, told.next()), what);
            }
            Some(told) if told < last => {
                let what = format!("it ends with {last}, but {} says that it ended with {told}", next.file());
                self.find(Kind::Damage, Some(survey.end), None, what);
            }
            _ => {}
        }
    }

    /// How the last segment ends.
    fn end(&mut self, survey: &Survey) {
        let lost = Lost { first: self.segment.last().next(), last: None };
        match self.segment.state {
            State::Torn => {
                let tear = survey.holes.first().map_or(survey.end, |hole| hole.range.start);
                let what = "what follows is not whole, as after a crash: nothing behind it says that it was synced, and \
                            opening cuts it off";
                self.find(Kind::Torn, Some(tear), None, what);
            }
            State::Damaged if survey.junk => {
                let what = "what follows is not what was written";
                self.find(Kind::Damage, Some(survey.end), Some(lost), what);
            }
            _ if self.segment.index == IndexState::Ahead => {
                let what = "its end was cut off: the index beside it knows of more";
                self.find(Kind::Damage, Some(survey.end), Some(lost), what);
            }
            _ if self.segment.was_sealed() => {
                let what = "it was sealed because another file followed, which is missing";
                self.find(Kind::Damage, None, Some(lost), what);
            }
            _ => {}
        }
    }

    fn index(&mut self, survey: &Survey) {
        let other = self.findings.iter().any(|finding| finding.kind == Kind::Damage);
        if other || !survey.holes.is_empty() || self.segment.index != IndexState::Wrong {
            return;
        }
        let file = file_name(self.segment.first).replace(".log", ".idx");
        let what = "it does not say what lies beside it; no message is lost, it can be built anew";
        self.findings.push(Finding { file, offset: None, kind: Kind::Damage, lost: None, what: what.into() });
    }
}

/// What a segment says of where the one before it ended.
fn told(segment: &Examined) -> Option<Sequence> {
    segment.header.map(|header| header.previous)
}

//! What is still to be said to the broker, gathered until the stream can take it. Pure.

use std::{collections::BTreeMap, mem, time::Duration};

use crate::{
    model::limits,
    pb::v1::{ConsumeRequest, FlowControl, Settlement, Verdict},
};

/// What becomes of a delivery. What is said alike is said together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word {
    verdict: i32,
    delay: Option<Duration>,
    reason: String,
}

impl Word {
    /// A word that the contract allows: a longer delay is cut, and so is a longer reason.
    pub(super) fn new(verdict: Verdict, delay: Option<Duration>, mut reason: String) -> Self {
        let end = (0..=limits::NAME_BYTES).rev().find(|end| reason.is_char_boundary((*end).min(reason.len())));
        reason.truncate(end.unwrap_or_default());
        Word { verdict: verdict.into(), delay: delay.map(|delay| delay.min(limits::ACK_DEADLINE_MAX)), reason }
    }

    /// One that says no more than its verdict.
    pub(super) fn bare(verdict: Verdict) -> Self {
        Word::new(verdict, None, String::new())
    }

    /// Whether the work goes on.
    pub(super) fn is_extension(&self) -> bool {
        self.verdict == i32::from(Verdict::Extend)
    }

    /// Whether the message is not to come again.
    pub(super) fn is_last(&self) -> bool {
        [Verdict::Ack, Verdict::Reject].contains(&self.verdict())
    }

    fn verdict(&self) -> Verdict {
        Verdict::try_from(self.verdict).unwrap_or_default()
    }

    fn settlement(self, ack_ids: Vec<String>) -> Settlement {
        let delay = self.delay.and_then(|delay| delay.try_into().ok());
        Settlement { ack_ids, verdict: self.verdict, delay, reason: self.reason }
    }
}

/// Settlements, and what else is to be said. That comes last: whoever detaches is not heard to the end if nothing is
/// outstanding, and what is settled should not be delivered again meanwhile.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    settlements: BTreeMap<Word, Vec<String>>,
    flow: Option<FlowControl>,
    detach: bool,
}

impl Outbox {
    /// This is said of one delivery.
    pub(super) fn settle(&mut self, ack_id: String, word: Word) {
        self.settlements.entry(word).or_default().push(ack_id);
    }

    /// So much may be outstanding from now on.
    pub(super) fn flow(&mut self, flow: FlowControl) {
        self.flow = Some(flow);
    }

    /// Nothing more is to be delivered.
    pub(super) fn detach(&mut self) {
        self.detach = true;
    }

    /// Whether all is said.
    pub(super) fn is_empty(&self) -> bool {
        self.settlements.is_empty() && self.flow.is_none() && !self.detach
    }

    /// What is said of deliveries and has not gone out.
    pub(super) fn ack_ids(&self) -> impl Iterator<Item = &str> {
        self.settlements.values().flatten().map(String::as_str)
    }

    /// The next request. It has as much as fits.
    pub(super) fn request(&mut self) -> ConsumeRequest {
        let mut settlements = Vec::new();
        let mut left = limits::ACK_IDS;
        while let Some(entry) = self.settlements.first_entry().filter(|_| left > 0) {
            let (word, mut ack_ids) = entry.remove_entry();
            let rest = ack_ids.split_off(ack_ids.len().min(left));
            left -= ack_ids.len();
            if !rest.is_empty() {
                self.settlements.insert(word.clone(), rest);
            }
            settlements.push(word.settlement(ack_ids));
        }
        let mut request = ConsumeRequest { settlements, ..ConsumeRequest::default() };
        if self.settlements.is_empty() {
            (request.flow_control, request.detach) = (self.flow.take(), mem::take(&mut self.detach));
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(messages: u32) -> FlowControl {
        FlowControl { max_outstanding_messages: Some(messages), max_outstanding_bytes: None }
    }

    #[test]
    fn what_is_said_alike_is_said_together() {
        let mut outbox = Outbox::default();
        assert!(outbox.is_empty());
        outbox.settle("a".into(), Word::bare(Verdict::Ack));
        outbox.settle("b".into(), Word::new(Verdict::Nack, Some(Duration::ZERO), "exit code 1".into()));
        outbox.settle("c".into(), Word::bare(Verdict::Ack));
        outbox.settle("d".into(), Word::new(Verdict::Extend, Some(Duration::from_secs(30)), String::new()));
        outbox.flow(flow(3));
        let request = outbox.request();
        let said: Vec<_> = request.settlements.iter().map(|said| (said.verdict(), said.ack_ids.join(" "))).collect();
        assert_eq!(
            said,
            [(Verdict::Ack, "a c".to_owned()), (Verdict::Nack, "b".to_owned()), (Verdict::Extend, "d".to_owned())]
        );
        assert_eq!((request.settlements[0].delay, request.settlements[1].delay), (None, Some(Default::default())));
        assert_eq!(request.settlements[2].delay, Some(prost_types::Duration { seconds: 30, nanos: 0 }));
        assert_eq!(request.flow_control, Some(flow(3)));
        assert!(outbox.is_empty() && !request.detach);
    }

    #[test]
    fn no_request_has_more_than_it_may_and_what_is_no_settlement_comes_last() {
        let mut outbox = Outbox::default();
        (0..limits::ACK_IDS + 1).for_each(|n| outbox.settle(n.to_string(), Word::bare(Verdict::Ack)));
        outbox.detach();
        outbox.flow(flow(0));
        let ids = |request: &ConsumeRequest| request.settlements.iter().map(|said| said.ack_ids.len()).sum::<usize>();
        let first = outbox.request();
        assert_eq!((ids(&first), first.detach, first.flow_control), (limits::ACK_IDS, false, None));
        let last = outbox.request();
        assert_eq!((ids(&last), last.detach, last.flow_control), (1, true, Some(flow(0))));
        assert!(outbox.is_empty());
    }

    #[test]
    fn no_word_is_longer_than_it_may_be() {
        let word = Word::new(Verdict::Nack, Some(Duration::MAX), "ä".repeat(200));
        assert_eq!((word.delay, word.reason.len()), (Some(limits::ACK_DEADLINE_MAX), 254));
    }
}

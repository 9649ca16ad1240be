//! What is still to be said to the broker, gathered until it can be sent. Pure.

use std::{collections::BTreeMap, mem, time::Duration};

use crate::{
    apps::output::wire_duration,
    pb::v1::{ConsumeRequest, FlowControl, Settlement, Verdict},
};

/// ack_ids that one request may have, by the contract.
const ACK_IDS: usize = 10_000;

/// Settlements, and what else the next request says.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Those with one verdict, delay and reason together.
    settlements: BTreeMap<Said, Vec<String>>,
    window: Option<u32>,
    detach: bool,
}

/// A verdict, its delay in the clock's own unit, and its reason.
type Said = (i32, Duration, String);

impl Outbox {
    /// One delivery is settled.
    pub fn settle(&mut self, ack_id: String, verdict: Verdict, reason: String) {
        self.settlements.entry((verdict.into(), Duration::ZERO, reason)).or_default().push(ack_id);
    }

    /// These go on for so long.
    pub fn extend(&mut self, ack_ids: Vec<String>, deadline: Duration) {
        if !ack_ids.is_empty() {
            self.settlements.entry((Verdict::Extend.into(), deadline, String::new())).or_default().extend(ack_ids);
        }
    }

    /// So much may be outstanding from now on.
    pub fn window(&mut self, messages: u32) {
        self.window = Some(messages);
    }

    /// Nothing more is to be delivered.
    pub fn detach(&mut self) {
        self.detach = true;
    }

    /// Whether all is said.
    pub fn is_empty(&self) -> bool {
        self.settlements.is_empty() && self.window.is_none() && !self.detach
    }

    /// Forgets all: the stream that it was for is over, and with it the leases.
    pub fn clear(&mut self) {
        *self = Outbox::default();
    }

    /// The next request. It has as much as fits.
    pub fn request(&mut self) -> ConsumeRequest {
        let mut settlements = Vec::new();
        let mut left = ACK_IDS;
        while let Some(entry) = self.settlements.first_entry().filter(|_| left > 0) {
            let (said, mut ack_ids) = entry.remove_entry();
            let rest = ack_ids.split_off(ack_ids.len().min(left));
            left -= ack_ids.len();
            settlements.push(settlement(&said, ack_ids));
            if !rest.is_empty() {
                self.settlements.insert(said, rest);
            }
        }
        let messages = self.window.take();
        let flow_control = messages
            .map(|messages| FlowControl { max_outstanding_messages: Some(messages), max_outstanding_bytes: None });
        ConsumeRequest { attach: None, settlements, flow_control, detach: mem::take(&mut self.detach) }
    }
}

fn settlement((verdict, delay, reason): &Said, ack_ids: Vec<String>) -> Settlement {
    let delay = Some(*delay).filter(|delay| !delay.is_zero()).map(wire_duration);
    Settlement { ack_ids, verdict: *verdict, delay, reason: reason.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_alike_is_said_together() {
        let mut outbox = Outbox::default();
        assert!(outbox.is_empty());
        outbox.settle("a".into(), Verdict::Ack, String::new());
        outbox.settle("b".into(), Verdict::Nack, "exit code 1".into());
        outbox.settle("c".into(), Verdict::Ack, String::new());
        outbox.extend(vec!["d".into()], Duration::from_secs(30));
        outbox.window(3);
        let request = outbox.request();
        let said: Vec<_> = request.settlements.iter().map(|said| (said.verdict(), said.ack_ids.join(" "))).collect();
        assert_eq!(
            said,
            [(Verdict::Ack, "a c".to_owned()), (Verdict::Nack, "b".to_owned()), (Verdict::Extend, "d".to_owned())]
        );
        assert_eq!(request.settlements[0].delay, None);
        assert_eq!(request.settlements[2].delay, Some(prost_types::Duration { seconds: 30, nanos: 0 }));
        assert_eq!(request.flow_control.unwrap().max_outstanding_messages, Some(3));
        assert!(outbox.is_empty() && !request.detach);
    }

    #[test]
    fn no_request_has_more_than_it_may() {
        let mut outbox = Outbox::default();
        (0..ACK_IDS + 1).for_each(|n| outbox.settle(n.to_string(), Verdict::Ack, String::new()));
        outbox.detach();
        let ids = |request: &ConsumeRequest| request.settlements.iter().map(|said| said.ack_ids.len()).sum::<usize>();
        let first = outbox.request();
        assert_eq!((ids(&first), first.detach), (ACK_IDS, true));
        assert_eq!(ids(&outbox.request()), 1);
        assert!(outbox.is_empty());
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pb::v1::Settlement;

const DEADLINE: Duration = Duration::from_secs(30);

fn delivery(sequence: u64, ack_id: &str) -> Delivery {
    let message = Some(Message { sequence, ..Message::default() });
    Delivery { message, ack_id: ack_id.into(), attempt: 1, ack_deadline: None }
}

/// A book with what was delivered and handed out, and the time of that.
fn out(keep: Duration, ids: &[(u64, &str)]) -> (Book<u32>, Instant) {
    let (mut book, now) = (Book::new(keep, false), Instant::now());
    for (sequence, ack_id) in ids {
        book.take(delivery(*sequence, ack_id), now, DEADLINE);
        book.hand_out(now).unwrap();
    }
    (book, now)
}

/// What goes out next, as verdicts with their ack_ids.
fn said(book: &mut Book<u32>) -> Vec<(Verdict, String)> {
    let settlements = book.request().map(|request| request.settlements).unwrap_or_default();
    settlements.iter().map(|said| (said.verdict(), said.ack_ids.join(" "))).collect()
}

/// What whoever waits is told.
fn told(book: &mut Book<u32>, ack_id: &str, reason: &str) -> Vec<(u32, Option<(String, Fate)>)> {
    let code = if reason.is_empty() { Code::Ok } else { Code::FailedPrecondition };
    let confirmation = Confirmation { ack_ids: vec![ack_id.into()], code: code.into(), reason: reason.into() };
    let mut answers = Vec::new();
    book.confirmed(confirmation, &mut answers);
    let fault = |answer: Answer| answer.err().map(|fault| (fault.reason.unwrap_or_default(), fault.fate));
    answers.into_iter().map(|(waiter, answer)| (waiter, fault(answer))).collect()
}

#[test]
fn what_was_not_confirmed_is_said_again_and_first() {
    let (mut book, _) = out(Duration::ZERO, &[(1, "a"), (2, "b"), (3, "c")]);
    book.settle(1, Word::bare(Verdict::Ack), Some(1));
    assert_eq!(said(&mut book), [(Verdict::Ack, "a".to_owned())]);
    book.settle(2, Word::bare(Verdict::Ack), Some(2));
    book.lose_stream();
    let opening = book.opening(Attach { flow_control: Some(NOTHING), ..Attach::default() });
    assert!(opening.attach.is_some());
    let mut ids: Vec<_> = opening.settlements.into_iter().flat_map(|said| said.ack_ids).collect();
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    let lost = |reason: &str, fate| Some((reason.to_owned(), fate));
    assert_eq!(told(&mut book, "a", "ALREADY_SETTLED"), [(1, lost("ALREADY_SETTLED", Fate::Unknown))]);
    assert_eq!(told(&mut book, "b", "LEASE_EXPIRED"), [(2, lost("LEASE_EXPIRED", Fate::Refused))], "it never went out");
    book.settle(3, Word::bare(Verdict::Ack), Some(3));
    assert_eq!(told(&mut book, "c", ""), [(3, None)]);
    assert_eq!((book.out(), book.unconfirmed(), book.held.len()), (0, 0, 0));
}

#[test]
fn more_than_one_request_holds_is_said_before_anything_is_delivered() {
    let (mut book, now) = (Book::new(Duration::ZERO, false), Instant::now());
    for sequence in 0..10_001 {
        book.take(delivery(sequence, &sequence.to_string()), now, DEADLINE);
        book.hand_out(now);
        book.settle(sequence, Word::bare(Verdict::Ack), Some(0));
    }
    book.lose_stream();
    let window = FlowControl { max_outstanding_messages: Some(7), max_outstanding_bytes: Some(8) };
    let opening = book.opening(Attach { flow_control: Some(window), ..Attach::default() });
    assert_eq!((opening.attach.unwrap().flow_control, opening.flow_control), (Some(NOTHING), None));
    let rest = book.request().unwrap();
    assert_eq!((rest.settlements[0].ack_ids.len(), rest.flow_control), (1, Some(window)));
    assert!(!book.has_words());
}

#[test]
fn what_comes_again_is_held_by_its_new_name() {
    let (mut book, now) = out(Duration::ZERO, &[(1, "a"), (2, "b")]);
    book.take(delivery(3, "c"), now, DEADLINE);
    book.settle(2, Word::bare(Verdict::Ack), Some(2));
    book.lose_stream();
    assert_eq!(book.waiting(), 0, "what nobody has comes again");
    book.opening(Attach::default());
    for (sequence, ack_id) in [(1, "d"), (2, "e"), (3, "f")] {
        book.take(delivery(sequence, ack_id), now, DEADLINE);
    }
    assert_eq!(said(&mut book), [(Verdict::Ack, "e".to_owned())], "it is settled, and that is said again");
    assert_eq!(told(&mut book, "b", "LEASE_EXPIRED"), [], "it has another name by now");
    assert_eq!(told(&mut book, "e", ""), [(2, None)]);
    assert_eq!(book.hand_out(now).unwrap().message.sequence, 3);
    assert_eq!(book.hand_out(now), None, "nothing is handed out twice");
    book.settle(1, Word::bare(Verdict::Ack), Some(1));
    assert_eq!(said(&mut book), [(Verdict::Ack, "d".to_owned())]);
}

#[test]
fn what_was_given_back_may_come_again_before_that_is_confirmed() {
    let (mut book, now) = out(Duration::ZERO, &[(1, "a")]);
    book.settle(1, Word::bare(Verdict::Release), Some(1));
    book.take(delivery(1, "b"), now, DEADLINE);
    assert!(book.hand_out(now).is_some());
    assert_eq!(told(&mut book, "a", ""), [(1, None)]);
    book.settle(1, Word::bare(Verdict::Ack), Some(2));
    assert_eq!(told(&mut book, "b", ""), [(2, None)]);
}

#[test]
fn leases_are_extended_at_half_of_their_time_as_long_as_they_are_to_be() {
    let (mut book, now) = out(DEADLINE, &[(1, "a")]);
    book.take(delivery(2, "b"), now, DEADLINE);
    assert_eq!(book.next_due(), Some(now + DEADLINE / 2));
    book.extend_due(now, DEADLINE);
    assert_eq!(said(&mut book), []);
    book.extend_due(now + DEADLINE / 2, DEADLINE);
    assert_eq!(said(&mut book), [(Verdict::Extend, "a b".to_owned())]);
    assert_eq!((told(&mut book, "a", ""), told(&mut book, "b", "LEASE_EXPIRED")), (vec![], vec![]));
    assert_eq!(book.hand_out(now), None, "it comes, or came, again");
    book.extend_due(now + DEADLINE, DEADLINE);
    assert_eq!((said(&mut book), book.next_due()), (vec![], None), "it was to be kept for so long");

    let (mut book, _) = out(Duration::ZERO, &[(1, "a")]);
    assert_eq!(book.next_due(), None, "the application has all of the ack deadline");
    book.extend(1, None, 1);
    book.settle(1, Word::bare(Verdict::Ack), Some(2));
    assert_eq!(said(&mut book), [(Verdict::Extend, "a".to_owned())]);
    assert_eq!(told(&mut book, "a", ""), [(1, None)]);
    assert_eq!(said(&mut book), [(Verdict::Ack, "a".to_owned())], "one word of a delivery is under way at a time");
    assert_eq!(told(&mut book, "a", ""), [(2, None)]);
}

#[test]
fn what_went_out_before_the_end_is_in_doubt() {
    let (mut book, _) = out(Duration::ZERO, &[(1, "a"), (2, "b")]);
    book.settle(1, Word::bare(Verdict::Ack), Some(1));
    said(&mut book);
    book.settle(2, Word::bare(Verdict::Ack), Some(2));
    let fault = Fault { fate: Fate::Refused, ..Fault::new(Code::NotFound, "gone".into()) };
    let mut answers = Vec::new();
    book.fail(&fault, &mut answers);
    answers.sort_by_key(|(waiter, _)| *waiter);
    let fates: Vec<_> = answers.into_iter().map(|(_, answer)| answer.unwrap_err().fate).collect();
    assert_eq!((fates, book.has_words()), (vec![Fate::Unknown, Fate::Refused], false));
}

/// A broker with one consumer, and the stream between them.
#[derive(Default)]
struct Broker {
    /// What is not settled, and its lease if it has one.
    open: BTreeMap<u64, Option<u64>>,
    lease: u64,
    acked: Vec<u64>,
    /// The first request of the stream has come.
    attached: bool,
    requests: VecDeque<ConsumeRequest>,
    responses: VecDeque<(Vec<Delivery>, Vec<Confirmation>)>,
}

impl Broker {
    fn hear(&mut self) {
        let Some(request) = self.requests.pop_front() else { return };
        self.attached = true;
        for Settlement { ack_ids, .. } in request.settlements {
            let answers = ack_ids.into_iter().map(|ack_id| self.settle(ack_id)).collect();
            self.responses.push_back((Vec::new(), answers));
        }
    }

    fn settle(&mut self, ack_id: String) -> Confirmation {
        let (sequence, lease) = ack_id.split_once('.').unwrap();
        let (sequence, lease): (u64, u64) = (sequence.parse().unwrap(), lease.parse().unwrap());
        let refused = |reason: &str| (Code::FailedPrecondition, reason.to_owned());
        let (code, reason) = match self.open.get(&sequence) {
            None => refused("ALREADY_SETTLED"),
            Some(Some(other)) if *other != lease => refused("LEASE_EXPIRED"),
            Some(_) => {
                self.open.remove(&sequence);
                self.acked.push(sequence);
                (Code::Ok, String::new())
            }
        };
        Confirmation { ack_ids: vec![ack_id], code: code.into(), reason }
    }

    fn deliver(&mut self, at: usize) {
        let ready: Vec<_> =
            self.open.iter().filter(|(_, lease)| lease.is_none()).map(|(sequence, _)| *sequence).collect();
        if self.attached && !ready.is_empty() {
            let sequence = ready[at % ready.len()];
            self.lease += 1;
            self.open.insert(sequence, Some(self.lease));
            self.responses.push_back((vec![delivery(sequence, &format!("{sequence}.{}", self.lease))], Vec::new()));
        }
    }

    fn lose(&mut self) {
        self.attached = false;
        self.requests.clear();
        self.responses.clear();
        self.open.values_mut().for_each(|lease| *lease = None);
    }
}

proptest! {
    #[test]
    fn wherever_the_stream_breaks_each_message_is_handed_out_once_and_settled_once(
        steps in prop::collection::vec((0..8u8, any::<prop::sample::Index>()), 0..400)
    ) {
        const MESSAGES: u64 = 8;
        let now = Instant::now();
        let mut broker = Broker { open: (1..=MESSAGES).map(|sequence| (sequence, None)).collect(), ..Broker::default() };
        let mut book = Book::new(Duration::ZERO, false);
        broker.requests.push_back(book.opening(Attach::default()));
        let (mut handed, mut answered, mut out) = (Vec::new(), Vec::new(), Vec::new());
        // In the end everything happens that can, in turn.
        let rest = (0..4_000u16).map(|n| ((n % 7) as u8, 0));
        for (step, at) in steps.iter().map(|(step, at)| (*step, at.index(100))).chain(rest) {
            match step {
                0 => broker.deliver(at),
                1 => broker.hear(),
                2 => if let Some((deliveries, confirmations)) = broker.responses.pop_front() {
                    for confirmation in confirmations {
                        book.confirmed(confirmation, &mut answered);
                    }
                    for delivery in deliveries {
                        book.take(delivery, now, DEADLINE);
                    }
                }
                3 | 4 => if let Some(message) = book.hand_out(now) {
                    handed.push(message.message.sequence);
                    out.push(message.message.sequence);
                }
                5 => if !out.is_empty() {
                    let sequence = out.remove(at % out.len());
                    book.settle(sequence, Word::bare(Verdict::Ack), Some(sequence));
                }
                6 => broker.requests.extend(book.request()),
                _ => {
                    broker.lose();
                    book.lose_stream();
                    broker.requests.push_back(book.opening(Attach::default()));
                }
            }
        }
        handed.sort_unstable();
        broker.acked.sort_unstable();
        answered.sort_by_key(|(waiter, _)| *waiter);
        let all: Vec<_> = (1..=MESSAGES).collect();
        prop_assert_eq!(&handed, &all);
        prop_assert_eq!(&broker.acked, &all);
        prop_assert_eq!(answered.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(), all);
        for (_, answer) in answered {
            let is_done = answer.is_ok() || answer.is_err_and(|fault| {
                fault.reason.as_deref() == Some("ALREADY_SETTLED") && fault.fate == Fate::Unknown
            });
            prop_assert!(is_done);
        }
        prop_assert_eq!((book.out(), book.unconfirmed(), book.held.len()), (0, 0, 0));
    }
}

#[test]
fn what_lies_behind_a_message_that_goes_back_follows_it() {
    let of = |key: &str, sequence: u64, ack_id: &str| {
        let message = Message { sequence, ordering_key: key.into(), ..Message::default() };
        Delivery { message: Some(message), ack_id: ack_id.into(), attempt: 1, ack_deadline: None }
    };
    let (mut book, now) = (Book::new(Duration::ZERO, true), Instant::now());
    for (key, sequence, ack_id) in [("k", 1, "a"), ("k", 2, "b"), ("", 3, "c"), ("m", 4, "d"), ("k", 5, "e")] {
        book.take(of(key, sequence, ack_id), now, DEADLINE);
    }
    let next = |book: &mut Book<u32>| book.hand_out(now).map(|handed| handed.message.sequence);
    assert_eq!([next(&mut book), next(&mut book)], [Some(1), Some(2)]);
    book.settle(1, Word::bare(Verdict::Nack), None);
    book.settle(2, Word::bare(Verdict::Release), None);
    // It was sent before the broker heard of that.
    book.take(of("k", 6, "f"), now, DEADLINE);
    let words = [(Verdict::Nack, "a".to_owned()), (Verdict::Release, "e b f".to_owned())];
    assert_eq!(said(&mut book), words);
    assert_eq!([next(&mut book), next(&mut book), next(&mut book)], [Some(3), Some(4), None]);
    told(&mut book, "a", "");
    for ack_id in ["b", "e", "f"] {
        told(&mut book, ack_id, "LEASE_EXPIRED");
    }
    for (sequence, ack_id) in [(1, "g"), (2, "h")] {
        book.take(of("k", sequence, ack_id), now, DEADLINE);
    }
    assert_eq!([next(&mut book), next(&mut book)], [Some(1), Some(2)]);
    assert_eq!((book.back.len(), book.unconfirmed(), book.out()), (0, 0, 4));
}

#[test]
fn what_was_settled_behind_a_message_that_went_back_is_not_handed_out_again() {
    let of = |sequence: u64, ack_id: &str| {
        let message = Message { sequence, ordering_key: "k".into(), ..Message::default() };
        Delivery { message: Some(message), ack_id: ack_id.into(), attempt: 1, ack_deadline: None }
    };
    let (mut book, now) = (Book::<u32>::new(Duration::ZERO, true), Instant::now());
    for (sequence, ack_id) in [(1, "a"), (2, "b")] {
        book.take(of(sequence, ack_id), now, DEADLINE);
        book.hand_out(now).unwrap();
    }
    book.settle(1, Word::bare(Verdict::Release), None);
    told(&mut book, "a", "");
    book.settle(2, Word::bare(Verdict::Ack), Some(7));
    said(&mut book);
    // The broker has leased both anew before it heard of that.
    book.take(of(1, "c"), now, DEADLINE);
    book.take(of(2, "d"), now, DEADLINE);
    assert_eq!(book.hand_out(now).map(|handed| handed.message.sequence), Some(1));
    assert_eq!(book.hand_out(now), None);
    assert_eq!(said(&mut book), [(Verdict::Ack, "d".to_owned())]);
    assert_eq!(told(&mut book, "b", "LEASE_EXPIRED"), []);
    assert_eq!(told(&mut book, "d", ""), [(7, None)]);
}

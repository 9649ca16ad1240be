//! Judges a history: what was lost, what came though it was settled, what overtook, what nobody sent, and who held what
//! others held. Pure. Where a network leaves two readings of a history, the broker gets the benefit of the doubt.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use super::history::{At, Delivery, Event, History, Message, Order, Part, Rules, Stream, Verdict, What};

/// The clocks of two hosts differ by this at the most.
const SKEW: Duration = Duration::from_millis(30);
/// What a consumer says is heard within this time, or never.
const HEARD: Duration = Duration::from_secs(4);

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub subscription: &'static str,
    pub text: String,
    pub at: At,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It was stored, and nobody has settled it, nor is it among the dead letters.
    Lost,
    /// It came again after it was settled for good.
    Doubled,
    /// It came before an earlier one of its key was done with, or after a later one was.
    Overtaken,
    /// Nobody published it so, or the subscription does not ask for it.
    Phantom,
    /// It came while somebody else had it.
    TwoHolders,
    /// It came to one who stands by.
    OutOfTurn,
    /// It came more often than the subscription tries.
    TooOften,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { kind, subscription, text, at, detail } = self;
        write!(f, "{kind:?}: {subscription}: {text} at {:.3}: {detail}", at.as_secs_f64())
    }
}

/// All that must not be in a history, in its order.
pub fn check(history: &History) -> Vec<Violation> {
    let mut checker = Checker::of(history);
    history.events.iter().for_each(|event| checker.see(event));
    checker.close();
    checker.found
}

struct Checker<'a> {
    rules: &'a [Rules],
    published: HashMap<&'a str, &'a Message>,
    // Where each lies, whenever that became known.
    places: HashMap<&'a str, u64>,
    stored: Vec<&'a str>,
    dead: HashMap<(usize, u64), At>,
    // When somebody first said that it is done, and was told that this counts: known from the beginning.
    taken: HashMap<(usize, u64), At>,
    // By subscription and sequence.
    work: HashMap<(usize, u64), Work>,
    // By subscription and key: the messages that it asks for, in order.
    keys: HashMap<(usize, &'a str), BTreeMap<u64, &'a str>>,
    // Which message each ack id means.
    ids: HashMap<&'a str, (usize, u64)>,
    streams: Vec<Seat>,
    broke: Vec<(Part, At)>,
    now: At,
    found: Vec<Violation>,
}

/// What became of one message with one subscription.
#[derive(Default)]
struct Work {
    leases: Vec<Lease>,
    // When somebody last said that it is done, and by which ids; those that were refused are taken out again.
    acked: Option<At>,
    acks: Vec<String>,
    // It is, and a crash cannot undo it.
    settled: Option<At>,
    // The same, by whoever was handed it since the broker started.
    settled_in_order: Option<At>,
}

struct Lease {
    ack_id: String,
    stream: Option<Stream>,
    // It is held for certain from then until then.
    from: At,
    until: At,
    extending: Option<(At, Duration)>,
}

/// A consumer's stream of a subscription that one works off at a time.
struct Seat {
    stream: Stream,
    asked: At,
    // He was let in by then, and has not gone since, for all that is known.
    active: Option<At>,
}

impl<'a> Checker<'a> {
    fn of(history: &'a History) -> Self {
        let mut checker = Checker {
            rules: &history.rules,
            published: HashMap::new(),
            places: HashMap::new(),
            stored: Vec::new(),
            dead: HashMap::new(),
            taken: HashMap::new(),
            work: HashMap::new(),
            keys: HashMap::new(),
            ids: HashMap::new(),
            streams: Vec::new(),
            broke: Vec::new(),
            now: At::ZERO,
            found: Vec::new(),
        };
        // What is known of the log is known from the beginning.
        let (mut ids, mut said) = (HashMap::new(), HashMap::new());
        for Event { at, what } in &history.events {
            match what {
                What::Published(message) => drop(checker.published.insert(&message.text, message)),
                What::Stored { text, sequence } => {
                    checker.places.insert(text, *sequence);
                    checker.stored.push(text);
                }
                What::Delivered(delivery) => {
                    checker.places.entry(&delivery.message.text).or_insert(delivery.sequence);
                    ids.insert(&*delivery.ack_id, (delivery.subscription, delivery.sequence));
                }
                What::Said { ack_id, verdict: Verdict::Ack } => drop(said.entry(&**ack_id).or_insert(*at)),
                What::Told { ack_id, verdict: Verdict::Ack, refusal: None } => {
                    let (Some(of), Some(at)) = (ids.get(&**ack_id), said.get(&**ack_id)) else { continue };
                    checker.taken.entry(*of).and_modify(|known| *known = *at.min(known)).or_insert(*at);
                }
                What::Dead { subscription, sequence, at } => {
                    checker.dead.insert((*subscription, *sequence), *at);
                }
                _ => {}
            }
        }
        for (text, sequence) in &checker.places {
            let Some(message) = checker.published.get(text) else { continue };
            let by_key = |rules: &&Rules| rules.order == Order::Key && (rules.wants)(message);
            for subscription in (0..history.rules.len()).filter(|at| by_key(&&history.rules[*at])) {
                let key = checker.keys.entry((subscription, &message.key)).or_default();
                key.insert(*sequence, text);
            }
        }
        checker
    }

    fn see(&mut self, event: &'a Event) {
        self.now = event.at;
        match &event.what {
            What::Published(_) | What::Stored { .. } | What::Dead { .. } => {}
            What::Attaching(stream) => {
                self.streams.push(Seat { stream: *stream, asked: event.at, active: None });
            }
            What::Attached(stream) => self.attached(*stream),
            What::Detaching(stream) => self.leave(|seat| seat.stream == *stream),
            What::Delivered(delivery) => self.delivered(delivery),
            What::Said { ack_id, verdict } => self.said(ack_id, *verdict),
            What::Told { ack_id, verdict, refusal } => self.told(ack_id, *verdict, refusal.as_deref()),
            What::Broke(part) => self.broke(*part),
        }
    }

    fn delivered(&mut self, delivery: &'a Delivery) {
        let subscription = delivery.subscription;
        let rules = &self.rules[subscription];
        let message = &delivery.message;
        match self.published.get(&*message.text) {
            None => self.report(Kind::Phantom, delivery, "nobody published it"),
            Some(published) if **published != *message => self.report(Kind::Phantom, delivery, "it was changed"),
            Some(_) if !(rules.wants)(message) => self.report(Kind::Phantom, delivery, "it is not asked for"),
            Some(_) => {}
        }
        let place = self.places[&*message.text];
        if place != delivery.sequence {
            self.report(Kind::Phantom, delivery, &format!("it is there twice: at {place} too"));
        }
        if rules.max_attempts.is_some_and(|most| delivery.attempt > most) {
            self.report(Kind::TooOften, delivery, &format!("attempt {}", delivery.attempt));
        }
        self.check_settled(delivery);
        self.check_key(delivery);
        self.check_turn(delivery);
        self.check_holders(delivery);
    }

    fn check_settled(&mut self, delivery: &Delivery) {
        let Some(work) = self.work.get(&(delivery.subscription, delivery.sequence)) else { return };
        if let Some(settled) = work.settled.filter(|settled| delivery.not_before > *settled + SKEW) {
            self.report(Kind::Doubled, delivery, &format!("it was settled for good at {:.3}", settled.as_secs_f64()));
        }
    }

    fn check_key(&mut self, delivery: &Delivery) {
        let (subscription, key) = (delivery.subscription, &*delivery.message.key);
        if key.is_empty() {
            return;
        }
        let Some(others) = self.keys.get(&(subscription, key)) else { return };
        let is_open = |earlier: &u64| {
            let is_dead = self.dead.get(&(subscription, *earlier)).is_some_and(|dead| *dead <= self.now + SKEW);
            let is_acked = self.work.get(&(subscription, *earlier)).is_some_and(|work| work.acked.is_some());
            // It may be on its way while it is handed out again, and count.
            let is_taken = self.taken.get(&(subscription, *earlier)).is_some_and(|said| *said <= self.now);
            !is_dead && !is_acked && !is_taken
        };
        let is_settled = |later: &u64| {
            // What was handed out before a crash is believed to be done, though the crash took back what was before it.
            let settled = self.work.get(&(subscription, *later)).and_then(|work| work.settled_in_order);
            settled.is_some_and(|settled| delivery.not_before > settled + SKEW)
        };
        let earlier = others.range(..delivery.sequence).find(|(earlier, _)| is_open(earlier));
        let later = others.range(delivery.sequence + 1..).find(|(later, _)| is_settled(later));
        let detail = match (earlier, later) {
            (Some((sequence, text)), _) => format!("{text}, at {sequence}, is not done with"),
            (None, Some((sequence, text))) => format!("{text}, at {sequence}, was settled before"),
            (None, None) => return,
        };
        self.report(Kind::Overtaken, delivery, &detail);
    }

    fn check_turn(&mut self, delivery: &Delivery) {
        let Some(stream) = delivery.stream.filter(|_| self.rules[delivery.subscription].order == Order::Exclusive)
        else {
            return;
        };
        let Some(own) = self.streams.iter().find(|seat| seat.stream == stream) else { return };
        let own = own.asked;
        let is_first = |seat: &&Seat| {
            let others = seat.stream.subscription == stream.subscription && seat.stream != stream;
            others && seat.active.is_some_and(|since| since + SKEW < own)
        };
        if let Some(first) = self.streams.iter().find(is_first).map(|seat| seat.stream.number) {
            self.report(Kind::OutOfTurn, delivery, &format!("stream {first} came first"));
        }
    }

    fn check_holders(&mut self, delivery: &'a Delivery) {
        let Delivery { ack_id, subscription, sequence, stream, not_before, .. } = delivery;
        let broken = |(part, at): &&(Part, At)| *at + SKEW >= *not_before && is_part(*part, *stream);
        let is_broken = self.broke.iter().any(|broke| broken(&broke));
        let until = match is_broken {
            true => self.now,
            false => *not_before + self.rules[*subscription].ack_deadline,
        };
        // Whoever acknowledged it was not heard, or a crash undid it; unless it is still on its way.
        let crashed = self.broke.iter().rev().find(|(part, at)| *part == Part::Broker && at < not_before);
        let crashed = crashed.map_or(At::ZERO, |(_, at)| *at);
        let work = self.work.entry((*subscription, *sequence)).or_default();
        if work.acked.is_some_and(|acked| acked < crashed || acked + HEARD < *not_before) {
            work.acked = None;
            work.acks.clear();
        }
        let is_held = |lease: &&Lease| self.now + SKEW < lease.until && self.now + SKEW < until;
        let holder = work.leases.iter().find(is_held).map(|lease| {
            let (from, until) = (lease.from.as_secs_f64(), lease.until.as_secs_f64());
            format!("{} has it from {from:.3} to {until:.3} at least", lease.ack_id)
        });
        let lease = Lease { ack_id: ack_id.clone(), stream: *stream, from: self.now, until, extending: None };
        work.leases.push(lease);
        self.ids.insert(ack_id, (*subscription, *sequence));
        if let Some(holder) = holder {
            self.report(Kind::TwoHolders, delivery, &holder);
        }
    }

    fn said(&mut self, ack_id: &str, verdict: Verdict) {
        let now = self.now;
        let Some(work) = self.ids.get(ack_id).and_then(|of| self.work.get_mut(of)) else { return };
        if verdict == Verdict::Ack {
            work.acked = Some(now);
            work.acks.push(ack_id.to_owned());
        }
        for lease in work.leases.iter_mut().filter(|lease| lease.ack_id == ack_id) {
            match verdict {
                Verdict::Extend(by) => {
                    lease.until = lease.until.min(now + by);
                    lease.extending = Some((now, by));
                }
                _ => {
                    lease.until = lease.until.min(now);
                    lease.extending = None;
                }
            }
        }
    }

    fn told(&mut self, ack_id: &str, verdict: Verdict, refusal: Option<&str>) {
        let now = self.now;
        let Some(work) = self.ids.get(ack_id).and_then(|of| self.work.get_mut(of)) else { return };
        match (verdict, refusal) {
            (Verdict::Ack, None) => {
                work.settled = work.settled.or(Some(now));
                let handed = work.leases.iter().find(|lease| lease.ack_id == ack_id).map(|lease| lease.from);
                let is_broken =
                    |(part, at): &(Part, At)| *part == Part::Broker && handed.is_none_or(|from| *at >= from);
                if !self.broke.iter().any(is_broken) {
                    work.settled_in_order = work.settled_in_order.or(Some(now));
                }
            }
            (Verdict::Ack, Some(_)) => {
                // One that was said twice was taken the first time.
                if let Some(at) = work.acks.iter().rposition(|known| known == ack_id) {
                    work.acks.remove(at);
                }
                if work.acks.is_empty() && work.settled.is_none() {
                    work.acked = None;
                }
            }
            (Verdict::Extend(_), None) => {
                for lease in work.leases.iter_mut().filter(|lease| lease.ack_id == ack_id) {
                    if let Some((said, by)) = lease.extending.take() {
                        lease.until = lease.until.max(said + by);
                    }
                }
            }
            _ => {}
        }
    }

    fn broke(&mut self, part: Part) {
        let now = self.now;
        self.broke.push((part, now));
        for lease in self.work.values_mut().flat_map(|work| &mut work.leases) {
            if is_part(part, lease.stream) {
                lease.until = lease.until.min(now);
                lease.extending = None;
            }
        }
        self.leave(|seat| is_part(part, Some(seat.stream)));
    }

    fn attached(&mut self, stream: Stream) {
        let now = self.now;
        let Some(seat) = self.streams.iter_mut().find(|seat| seat.stream == stream) else { return };
        let broken = |(part, at): &(Part, At)| *at >= seat.asked && is_part(*part, Some(stream));
        seat.active = (!self.broke.iter().any(broken)).then_some(now);
    }

    fn leave(&mut self, leaves: impl Fn(&Seat) -> bool) {
        self.streams.iter_mut().filter(|seat| leaves(seat)).for_each(|seat| seat.active = None);
    }

    /// Nothing comes any more: what is stored must be done with.
    fn close(&mut self) {
        for (subscription, rules) in self.rules.iter().enumerate() {
            for text in &self.stored {
                let (message, sequence) = (self.published[text], self.places[text]);
                let work = self.work.get(&(subscription, sequence));
                let is_done = work.is_some_and(|work| work.acked.is_some() || work.settled.is_some());
                let is_dead = self.dead.contains_key(&(subscription, sequence));
                if (rules.wants)(message) && !is_done && !is_dead {
                    let times = work.map_or(0, |work| work.leases.len());
                    let detail = format!("at {sequence}; it came {times} times, and is not done with");
                    let (kind, text, at) = (Kind::Lost, text.to_string(), self.now);
                    self.found.push(Violation { kind, subscription: rules.name, text, at, detail });
                }
            }
        }
    }

    fn report(&mut self, kind: Kind, delivery: &Delivery, detail: &str) {
        self.found.push(Violation {
            kind,
            subscription: self.rules[delivery.subscription].name,
            text: delivery.message.text.clone(),
            at: self.now,
            detail: detail.to_owned(),
        });
    }
}

/// Whether a stream ends, or may, when this breaks. What was pulled ends with the broker alone.
fn is_part(part: Part, stream: Option<Stream>) -> bool {
    match (part, stream) {
        (Part::Broker, _) => true,
        (_, None) => false,
        (Part::Link(host), Some(stream)) => stream.host == host,
        (Part::Stream(number), Some(stream)) => stream.number == number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: Rules = Rules {
        name: "jobs",
        order: Order::Shared,
        ack_deadline: Duration::from_secs(2),
        max_attempts: Some(3),
        wants: |message| message.loud,
    };

    /// A history of one subscription, written a line at a time; each takes a second.
    struct Story {
        history: History,
        stream: Stream,
    }

    impl Story {
        fn of(order: Order) -> Self {
            let history = History { rules: vec![Rules { order, ..JOBS }], events: Vec::new() };
            Story { history, stream: Stream { subscription: 0, host: 0, number: 1 } }
        }

        fn now(&self) -> At {
            self.history.events.last().map_or(At::ZERO, |event| event.at)
        }

        fn then(mut self, what: What) -> Self {
            let at = self.now() + Duration::from_secs(1);
            self.history.events.push(Event { at, what });
            self
        }

        /// As [`Story::then`], at the same time.
        fn and(mut self, what: What) -> Self {
            let at = self.now();
            self.history.events.push(Event { at, what });
            self
        }

        fn stored(self, sequence: u64) -> Self {
            self.and(What::Published(message(sequence))).and(What::Stored { text: text(sequence), sequence })
        }

        fn by(mut self, number: u32) -> Self {
            self.stream = Stream { host: number as usize, number, ..self.stream };
            self
        }

        fn delivered(self, sequence: u64, ack_id: &str) -> Self {
            let not_before = self.now() + Duration::from_millis(900);
            let delivery = Delivery {
                ack_id: ack_id.into(),
                subscription: 0,
                stream: Some(self.stream),
                message: message(sequence),
                sequence,
                attempt: 1,
                not_before,
            };
            self.then(What::Delivered(delivery))
        }

        fn said(self, ack_id: &str, verdict: Verdict) -> Self {
            self.and(What::Said { ack_id: ack_id.into(), verdict })
        }

        fn told(self, ack_id: &str, refusal: Option<&str>) -> Self {
            let refusal = refusal.map(str::to_owned);
            self.then(What::Told { ack_id: ack_id.into(), verdict: Verdict::Ack, refusal })
        }

        fn acked(self, ack_id: &str) -> Self {
            self.said(ack_id, Verdict::Ack).told(ack_id, None)
        }

        fn change(mut self, change: impl FnOnce(&mut Delivery)) -> Self {
            let Some(Event { what: What::Delivered(delivery), .. }) = self.history.events.last_mut() else { panic!() };
            change(delivery);
            self
        }

        #[track_caller]
        fn shows(self, kinds: &[Kind]) {
            let found = check(&self.history);
            assert_eq!(found.iter().map(|violation| violation.kind).collect::<Vec<_>>(), kinds, "{found:#?}");
        }
    }

    fn text(sequence: u64) -> String {
        format!("m{sequence}")
    }

    /// Messages have two keys in turn, and the hundredth is not asked for.
    fn message(sequence: u64) -> Message {
        let key = ["even", "odd"][sequence as usize % 2].to_owned();
        Message { text: text(sequence), topic: "jobs".into(), key, loud: sequence != 100 }
    }

    fn dead(sequence: u64, at: At) -> What {
        What::Dead { subscription: 0, sequence, at }
    }

    #[test]
    fn a_plain_history_is_good() {
        let story = Story::of(Order::Key).stored(1).stored(3).stored(100);
        story.delivered(1, "a").acked("a").delivered(3, "b").acked("b").shows(&[]);
    }

    #[test]
    fn what_nobody_is_done_with_is_lost() {
        Story::of(Order::Shared).stored(1).shows(&[Kind::Lost]);
        let handed = || Story::of(Order::Shared).stored(1).delivered(1, "a");
        handed().shows(&[Kind::Lost]);
        handed().said("a", Verdict::Reject).shows(&[Kind::Lost]);
        handed().said("a", Verdict::Reject).then(dead(1, At::ZERO)).shows(&[]);
        handed().said("a", Verdict::Ack).shows(&[]);
        handed().said("a", Verdict::Ack).told("a", Some("LEASE_EXPIRED")).shows(&[Kind::Lost]);
        // What was never answered may be gone, and what is not asked for does not matter.
        Story::of(Order::Shared).and(What::Published(message(1))).stored(100).shows(&[]);
    }

    #[test]
    fn one_that_is_said_twice_counts_once() {
        let twice = Story::of(Order::Shared).stored(1).delivered(1, "a").acked("a");
        twice.said("a", Verdict::Ack).told("a", Some("ALREADY_SETTLED")).shows(&[]);
    }

    #[test]
    fn what_comes_after_it_was_settled_for_good_is_doubled() {
        let settled = || Story::of(Order::Shared).stored(1).delivered(1, "a").acked("a");
        settled().delivered(1, "b").shows(&[Kind::Doubled]);
        // It may have been handed out before.
        settled().delivered(1, "b").change(|delivery| delivery.not_before = At::ZERO).shows(&[]);
        // Nobody was told that it is settled.
        let said = Story::of(Order::Shared).stored(1).delivered(1, "a").said("a", Verdict::Ack);
        said.then(What::Broke(Part::Broker)).delivered(1, "b").acked("b").shows(&[]);
    }

    #[test]
    fn what_comes_before_an_earlier_one_of_its_key_has_overtaken() {
        let three = || Story::of(Order::Key).stored(1).stored(2).stored(3);
        three()
            .delivered(3, "a")
            .acked("a")
            .delivered(2, "b")
            .acked("b")
            .delivered(1, "c")
            .acked("c")
            .shows(&[Kind::Overtaken, Kind::Overtaken]);
        let first = || Story::of(Order::Key).stored(1).stored(3).delivered(1, "a");
        first().delivered(3, "b").said("a", Verdict::Ack).said("b", Verdict::Ack).shows(&[Kind::Overtaken]);
        first()
            .said("a", Verdict::Nack)
            .delivered(3, "b")
            .acked("b")
            .delivered(1, "c")
            .acked("c")
            .shows(&[Kind::Overtaken, Kind::Overtaken]);
        first().said("a", Verdict::Reject).then(dead(1, At::from_secs(1))).delivered(3, "b").acked("b").shows(&[]);
        let late = first().said("a", Verdict::Reject).then(dead(1, At::from_secs(60)));
        late.delivered(3, "b").acked("b").shows(&[Kind::Overtaken]);
    }

    #[test]
    fn what_a_crash_took_back_is_open_again() {
        let said = Story::of(Order::Key).stored(1).stored(3).delivered(1, "a").said("a", Verdict::Ack);
        let again = said.then(What::Broke(Part::Broker)).delivered(1, "b");
        again.delivered(3, "c").said("b", Verdict::Ack).said("c", Verdict::Ack).shows(&[Kind::Overtaken]);
    }

    #[test]
    fn what_was_said_of_an_earlier_delivery_may_count_later() {
        let said = || Story::of(Order::Key).stored(1).stored(3).delivered(1, "a").said("a", Verdict::Ack);
        let again = || said().then(What::Broke(Part::Broker)).delivered(1, "b").said("b", Verdict::Nack);
        again().delivered(3, "c").acked("c").told("a", None).shows(&[]);
        again().delivered(3, "c").acked("c").told("a", Some("LEASE_EXPIRED")).shows(&[Kind::Overtaken, Kind::Lost]);
    }

    #[test]
    fn who_has_done_the_work_before_a_crash_is_believed() {
        let said = Story::of(Order::Key).stored(1).stored(3).delivered(1, "a").said("a", Verdict::Ack);
        let both = said.delivered(3, "b").then(What::Broke(Part::Broker)).acked("b");
        both.delivered(1, "c").acked("c").shows(&[]);
    }

    #[test]
    fn what_nobody_published_or_asked_for_is_a_phantom() {
        Story::of(Order::Shared).delivered(1, "a").shows(&[Kind::Phantom]);
        Story::of(Order::Shared).stored(100).delivered(100, "a").shows(&[Kind::Phantom]);
        let changed = Story::of(Order::Shared).stored(1).delivered(1, "a");
        changed.change(|delivery| delivery.message.topic = "other".into()).acked("a").shows(&[Kind::Phantom]);
        let moved = Story::of(Order::Shared).stored(1).delivered(1, "a").acked("a");
        moved.delivered(1, "b").change(|delivery| delivery.sequence = 7).acked("b").shows(&[Kind::Phantom]);
    }

    #[test]
    fn nobody_gets_what_somebody_has() {
        let held = || Story::of(Order::Shared).stored(1).delivered(1, "a").by(2);
        let quick = |story: Story| story.delivered(1, "b").acked("b");
        quick(held()).shows(&[Kind::TwoHolders]);
        for verdict in [Verdict::Nack, Verdict::Release, Verdict::Extend(Duration::ZERO)] {
            quick(held().said("a", verdict)).shows(&[]);
        }
        // The lease is over by then.
        quick(held().then(What::Attaching(Stream { subscription: 0, host: 9, number: 9 }))).shows(&[]);
        for part in [Part::Broker, Part::Link(0), Part::Stream(1)] {
            quick(held().and(What::Broke(part))).shows(&[]);
        }
        for part in [Part::Link(5), Part::Stream(2)] {
            quick(held().and(What::Broke(part))).shows(&[Kind::TwoHolders]);
        }
        let (ack_id, verdict) = ("a".to_owned(), Verdict::Extend(Duration::from_secs(10)));
        let extended = held().said("a", verdict).then(What::Told { ack_id, verdict, refusal: None });
        quick(extended.and(What::Broke(Part::Link(5)))).shows(&[Kind::TwoHolders]);
    }

    #[test]
    fn a_lease_that_was_pulled_outlives_its_connection() {
        let pulled = Story::of(Order::Shared).stored(1).delivered(1, "a").change(|delivery| delivery.stream = None);
        pulled.and(What::Broke(Part::Link(0))).delivered(1, "b").acked("b").shows(&[Kind::TwoHolders]);
    }

    #[test]
    fn who_came_first_is_served_as_long_as_he_is_there() {
        let [first, second] = [1, 2].map(|number| Stream { subscription: 0, host: number as usize, number });
        let both = || {
            let story = Story::of(Order::Exclusive).stored(1).and(What::Attaching(first)).then(What::Attached(first));
            story.then(What::Attaching(second)).then(What::Attached(second)).by(2)
        };
        both().delivered(1, "a").acked("a").shows(&[Kind::OutOfTurn]);
        both().then(What::Detaching(first)).delivered(1, "a").acked("a").shows(&[]);
        both().then(What::Broke(Part::Stream(1))).delivered(1, "a").acked("a").shows(&[]);
        both().by(1).delivered(1, "a").acked("a").shows(&[]);
    }

    #[test]
    fn it_comes_no_more_often_than_it_is_tried() {
        let story = Story::of(Order::Shared).stored(1).delivered(1, "a");
        story.change(|delivery| delivery.attempt = 4).acked("a").shows(&[Kind::TooOften]);
    }
}

//! What producers have numbered is published once and in order, wherever the power is cut: after the crash the log knows
//! which number comes next, and sending again what was not answered publishes nothing twice.

use tilde::{engine::Session, model::ProducerName};
use tokio_util::sync::CancellationToken;

use super::*;

/// Sends its messages, many at a time, and remembers what was answered.
struct Producer {
    name: &'static str,
    session: Option<Arc<Session>>,
    // The number of the next message, and the first that has no answer.
    next: u64,
    unanswered: u64,
    waiting: Vec<(u64, Receipt)>,
}

impl Producer {
    fn new(name: &'static str) -> Self {
        Producer { name, session: None, next: 1, unanswered: 1, waiting: Vec::new() }
    }

    /// Comes to a log that was opened anew, and goes on with what was not answered. Answers the number that the log
    /// knows as the next.
    fn come_back(&mut self, rig: &Rig) -> u64 {
        let producer = ProducerName::parse(self.name).unwrap();
        let session = Arc::new(Session { producer, replaced: CancellationToken::new() });
        let mut attaching = rig.log.attach(session.clone());
        assert!(now(attaching.as_mut()).is_none());
        rig.drive();
        let next = now(attaching).expect("the log was driven").unwrap();
        self.session = Some(session);
        self.waiting.clear();
        self.next = self.unanswered;
        next
    }

    fn send(&mut self, rig: &Rig, count: u64, durability: Durability) {
        let mut batch = Batch::new(durability).number(self.session.clone().unwrap(), self.next);
        for number in self.next..self.next + count {
            let topic = Topic::parse(format!("t{}", number % 3)).unwrap();
            let text = format!("{}/{number}/{}", self.name, "x".repeat(number as usize % 500));
            batch.push(&Message::new(topic, Payload::Text(text.into())), 1 << 20, None).unwrap();
        }
        self.next += count;
        self.waiting.push((self.next, rig.log.append(batch)));
    }

    fn take_answers(&mut self) {
        while let Some((next, receipt)) = self.waiting.first_mut()
            && let Some(answer) = now(receipt)
        {
            let Ok(outcomes) = answer else { return self.waiting.clear() };
            assert!(outcomes.iter().all(|outcome| outcome.is_ok()));
            // What is worth less than a sync may be gone after a crash, and would have to be sent again.
            if outcomes.iter().all(|outcome| outcome.is_ok_and(|appended| appended.durability == Durability::Synced)) {
                self.unanswered = *next;
            }
            self.waiting.remove(0);
        }
    }

    /// Its numbers in the log, in the log's order.
    fn found(&self, rig: &Rig) -> Vec<u64> {
        let number = |text: &str| {
            let (name, rest) = text.split_once('/')?;
            (name == self.name).then(|| rest.split_once('/').unwrap().0.parse().unwrap())
        };
        rig.read_all().iter().filter_map(|(_, text)| number(text)).collect()
    }
}

fn work(rig: &Rig, producers: &mut [Producer], chance: &Chance, rounds: u64) {
    for _ in 0..rounds {
        for _ in 0..=chance.below(3) {
            let producer = &mut producers[chance.below(2) as usize];
            producer.send(rig, 1 + chance.below(6), Durability::Synced);
        }
        rig.drive();
        match chance.below(8) {
            0 => rig.rest(),
            1 | 2 => rig.log.tend(),
            _ => {}
        }
        producers.iter_mut().for_each(Producer::take_answers);
    }
}

/// Work, a cut, opening again, sending again what was not answered. Answers how many operations there were to cut.
fn history(seed: u64, rounds: u64, cut: Option<u64>) -> u64 {
    let context = format!("seed {seed}, cut {cut:?}");
    let disk = SimDisk::default();
    if let Some(cut) = cut {
        disk.cut_at(cut);
    }
    let chance = Chance::new(seed);
    let mut producers = [Producer::new("p"), Producer::new("q")];
    if let Ok(rig) = Rig::open(&disk, seed) {
        for producer in &mut producers {
            assert_eq!(producer.come_back(&rig), 1);
        }
        work(&rig, &mut producers, &chance, rounds);
    }
    let crashes = Chance::new(seed ^ cut.unwrap_or(0).wrapping_mul(0x9e37_79b9));
    let again = match crashes.below(2) {
        0 => disk.after_kill(),
        _ => disk.after_crash(|| crashes.below(u64::MAX)),
    };
    let rig = Rig::open(&again, seed + 1).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let mut known = Vec::new();
    for producer in &mut producers {
        let kept = producer.found(&rig);
        let next = producer.come_back(&rig);
        assert_eq!(kept, (1..next).collect::<Vec<_>>(), "{context}: once, in order, and known");
        assert!(next >= producer.unanswered, "{context}: {next} comes next, {} was answered", producer.unanswered - 1);
        known.push(next);
    }
    work(&rig, &mut producers, &crashes, 5);
    for (producer, known) in producers.iter().zip(known) {
        // It may not have come to the end of what was there.
        let end = known.max(producer.next);
        assert_eq!(producer.found(&rig), (1..end).collect::<Vec<_>>(), "{context}: once, and in order");
        assert_eq!(producer.unanswered, producer.next, "{context}: all is answered");
    }
    disk.operations()
}

#[test]
fn numbers_are_published_once_wherever_the_power_is_cut() {
    let (seeds, rounds) = if campaign() { (20, 60) } else { (2, 25) };
    for seed in 0..seeds {
        let operations = history(seed, rounds, None);
        for cut in 1..=operations {
            history(seed, rounds, Some(cut));
        }
    }
}

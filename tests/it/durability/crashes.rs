//! Many publishers and a subscriber, and a broker that is killed in the middle of it, again and again.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Signal;
use tilde::{
    client::Fault,
    pb::v1::{Durability, PublishRequest, SubscribeRequest, start_position::Position},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    client::{earliest, everything, next, start},
    ledger::Ledger,
    *,
};
use crate::support;

const PUBLISHERS: usize = 8;

/// What all tasks of a round share.
#[derive(Clone)]
struct Round {
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
    answers: watch::Sender<u64>,
}

/// Sends one request after the other, and counts through all rounds.
struct Publisher {
    topic: String,
    number: u64,
    dice: Dice,
    // Requests with ids of the last round: those that were answered, and the one that was not.
    answered: Vec<Vec<PublishRequest>>,
    unanswered: Option<(Vec<PublishRequest>, bool)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_survives_kill_nine() {
    let place = tempfile::tempdir().unwrap();
    let mut dice = Dice::new();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut publishers: Vec<Publisher> = (0..PUBLISHERS).map(|at| Publisher::new(at, dice.split())).collect();
    let mut cursor = None;
    let rounds = rounds(5, 200);
    for round in 0..rounds {
        if dice.hits(4) {
            kill_while_it_opens(place.path(), &mut dice);
        }
        let broker = Tilde::start_in(place.path(), &[]);
        let shared =
            Round { client: Client::of(&broker).await, ledger: ledger.clone(), answers: watch::Sender::new(0) };
        shared.check().await;
        for publisher in &mut publishers {
            publisher.retry(&shared).await;
        }

        let subscriber = tokio::spawn(shared.clone().follow(cursor.take()));
        let mut tasks = JoinSet::new();
        for publisher in publishers.drain(..) {
            tasks.spawn(publisher.run(shared.clone()));
        }
        let enough = 1 + dice.roll(400);
        let mut answers = shared.answers.subscribe();
        let reached = timeout(PATIENCE, answers.wait_for(|answers| *answers >= enough)).await.is_ok();
        assert!(reached, "publishing does not go on");
        if dice.hits(3) {
            broker.signal(Signal::TERM);
            // As far as it comes in the meantime: this is chance, nothing waits for it.
            tokio::time::sleep(Duration::from_micros(dice.roll(30_000))).await;
        }
        drop(broker);
        while let Some(publisher) = timeout(PATIENCE, tasks.join_next()).await.expect("a publisher hangs") {
            publishers.push(publisher.unwrap());
        }
        cursor = timeout(PATIENCE, subscriber).await.expect("the subscriber hangs").unwrap();
        eprintln!(
            "round {round}: {} answers, {} messages before",
            *shared.answers.borrow(),
            ledger.lock().unwrap().len()
        );
    }

    let broker = Tilde::start_in(place.path(), &[]);
    let shared = Round { client: Client::of(&broker).await, ledger: ledger.clone(), answers: watch::Sender::new(0) };
    shared.check().await;
    let rest = shared.client.read(cursor.map_or(earliest(), Position::AfterCursor)).await;
    assert!(rest.gaps.is_empty() && rest.failure.is_none(), "{:?} {:?}", rest.gaps, rest.failure);
    let whole = shared.client.read(earliest()).await;
    let mut ledger = ledger.lock().unwrap();
    ledger.check_whole(&whole.messages);
    rest.messages.iter().for_each(|message| ledger.see(message));
    ledger.check(&[]);
    ledger.check_nothing_missed();
    broker.stop();
}

/// Starts it and kills it before it says that it is ready, most of the time.
fn kill_while_it_opens(directory: &Path, dice: &mut Dice) {
    let mut child = support::serve(directory, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // As far as it comes in the meantime: this is chance, nothing waits for it.
    std::thread::sleep(Duration::from_micros(dice.roll(30_000)));
    child.kill().unwrap();
    child.wait().unwrap();
}

impl Round {
    /// Reads what is new, and holds it against what is known.
    async fn check(&self) {
        let end = self.ledger.lock().unwrap().end();
        let read = self.client.read(Position::Sequence(end + 1)).await;
        assert!(read.gaps.is_empty() && read.failure.is_none(), "{:?} {:?}", read.gaps, read.failure);
        self.ledger.lock().unwrap().check(&read.messages);
    }

    /// Follows from a cursor on until the broker is gone. Answers with the last cursor.
    async fn follow(self, cursor: Option<String>) -> Option<String> {
        let from = cursor.clone().map_or(earliest(), Position::AfterCursor);
        let request = SubscribeRequest { start: start(from), ..everything() };
        let Ok(mut stream) = self.client.subscribe(request).await else { return cursor };
        let mut cursor = cursor;
        while let Ok(Some(response)) = next(&mut stream).await {
            assert_eq!(response.gap, None);
            let mut ledger = self.ledger.lock().unwrap();
            response.messages.iter().for_each(|message| ledger.see(message));
            cursor = Some(response.cursor);
        }
        cursor
    }

    fn answered(&self) {
        self.answers.send_modify(|answers| *answers += 1);
    }
}

impl Publisher {
    fn new(at: usize, dice: Dice) -> Self {
        Publisher { topic: format!("p{at}"), number: 0, dice, answered: Vec::new(), unanswered: None }
    }

    /// Publishes until the broker is gone.
    async fn run(mut self, round: Round) -> Self {
        self.answered.clear();
        loop {
            let requests = self.requests();
            let atomic = self.dice.hits(2);
            if !self.send(&round, requests, atomic).await {
                return self;
            }
            round.answered();
        }
    }

    /// One request or a batch, of one durability, with ids or without.
    fn requests(&mut self) -> Vec<PublishRequest> {
        let count = if self.dice.hits(2) { 1 } else { 1 + self.dice.roll(30) };
        let with_ids = self.dice.hits(2);
        let durability = match self.dice.roll(10) {
            0..7 => Durability::Synced,
            7 | 8 => Durability::Written,
            _ => Durability::Memory,
        };
        let one = |_| {
            self.number += 1;
            let key = format!("{}/{}", self.topic, self.number);
            let size = if self.dice.hits(50) { self.dice.roll(100_000) } else { self.dice.roll(1_000) } as usize;
            let filler = char::from(b'a' + self.dice.roll(26) as u8).to_string().repeat(size);
            let message_id = if with_ids { key.clone() } else { String::new() };
            let request = message(&self.topic, format!("{key} {filler}"));
            PublishRequest { message_id, durability: durability as i32, ..request }
        };
        (0..count).map(one).collect()
    }

    /// Sends it, and writes down what came of it. Answers whether the broker is still there.
    async fn send(&mut self, round: &Round, requests: Vec<PublishRequest>, atomic: bool) -> bool {
        round.ledger.lock().unwrap().try_all(&requests, atomic);
        let with_ids = !requests[0].message_id.is_empty();
        match self.publish(round, &requests, atomic).await {
            Ok(()) => {
                if with_ids {
                    self.answered.push(requests);
                }
                true
            }
            Err(fault) => {
                let stopping = fault.reason.as_deref() == Some("DRAINING");
                assert!(fault.is_connection() || stopping, "nothing else is refused here: {fault:?}");
                if stopping {
                    requests.iter().for_each(|request| round.ledger.lock().unwrap().refuse(request));
                }
                self.unanswered = with_ids.then_some((requests, atomic));
                false
            }
        }
    }

    async fn publish(&self, round: &Round, requests: &[PublishRequest], atomic: bool) -> Result<(), Fault> {
        let answers = match requests {
            [one] if !atomic => vec![round.client.publish(one.clone()).await?],
            _ => {
                let results = round.client.publish_batch(requests.to_vec(), atomic).await?;
                results.into_iter().collect::<Result<Vec<_>, _>>()?
            }
        };
        assert_eq!(answers.len(), requests.len());
        let mut ledger = round.ledger.lock().unwrap();
        for (request, answer) in requests.iter().zip(&answers) {
            ledger.tell(request, answer);
            assert_eq!(answer.duplicate, ledger.place(request).is_some(), "{answer:?}");
        }
        Ok(())
    }

    /// Publishes again what has ids, across the restart: what was answered and some of what was not is there already.
    async fn retry(&mut self, round: &Round) {
        for requests in self.answered.split_off(self.answered.len().saturating_sub(3)) {
            self.publish(round, &requests, false).await.unwrap();
        }
        if let Some((requests, atomic)) = self.unanswered.take() {
            round.ledger.lock().unwrap().try_all(&requests, atomic);
            self.publish(round, &requests, atomic).await.unwrap();
        }
    }
}

//! What was scheduled is published once, however often the broker is killed while it is due.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;
use tilde::pb::v1::{Message, PublishRequest, SubscribeRequest, start_position::Position};

use super::{
    Client, Dice, Tilde,
    client::{earliest, everything, next, start, text},
    message, rounds,
};

/// Messages that become due while the broker is killed and started.
const MESSAGES: usize = 400;

/// The same for all of them: so that there is always something between one message and the next to be killed at.
const SPREAD: Duration = Duration::from_millis(3_000);

#[tokio::test]
async fn each_comes_once_and_not_before_its_time() {
    let mut dice = Dice::new();
    for _ in 0..rounds(1, 20) {
        let place = tempfile::tempdir().unwrap();
        let mut broker = Tilde::start_in(place.path(), &[]);
        let client = Client::of(&broker).await;
        let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_millis(500);
        for number in 0..MESSAGES {
            let due = first + SPREAD * (number as u32) / (MESSAGES as u32);
            let (seconds, nanos) = (due.as_secs() as i64, due.subsec_nanos() as i32);
            let deliver_time = Some(prost_types::Timestamp { seconds, nanos });
            let request = PublishRequest { deliver_time, ..message("t", number.to_string()) };
            client.publish(request).await.unwrap();
        }
        // Killed behind some message or other, four times, and stopped once.
        let mut least = 0;
        for round in 0..5 {
            least = (least + 1 + dice.roll(100) as usize).min(MESSAGES);
            least = arrivals(&Client::of(&broker).await, least).await.len();
            broker.signal(if round < 4 { Signal::KILL } else { Signal::TERM });
            broker.wait();
            broker = Tilde::start_in(place.path(), &[]);
        }
        let client = Client::of(&broker).await;
        let mut seen = BTreeMap::new();
        for message in arrivals(&client, MESSAGES).await {
            let (due, came) = (message.deliver_time.unwrap(), message.publish_time.unwrap());
            assert!((due.seconds, due.nanos) <= (came.seconds, came.nanos), "before its time");
            let number: usize = text(&message).parse().unwrap();
            assert_eq!(seen.insert(number, message.sequence), None, "{number} came twice");
        }
        assert!(seen.len() == MESSAGES && seen.values().is_sorted(), "in the order in which they were due");
        // Nothing is left that could come once more: the next is the last.
        client.publish(message("t", "last")).await.unwrap();
        assert_eq!(client.read(Position::Sequence(1)).await.messages.len(), MESSAGES + 1);
    }
}

/// All that came so far, as soon as it is so much.
async fn arrivals(client: &Client, least: usize) -> Vec<Message> {
    let request = SubscribeRequest { start: start(earliest()), ..everything() };
    let mut stream = client.subscribe(request).await.unwrap();
    let mut came = Vec::new();
    while came.len() < least {
        came.extend(next(&mut stream).await.unwrap().unwrap().messages);
    }
    came
}

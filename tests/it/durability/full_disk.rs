//! A disk without room: refusals, not a crash, and everything goes on when there is room again. The disk is a small file
//! system in memory, which only the broker and its keeper see.

use tilde::{
    client::Fault,
    pb::v1::{Namespace, PublishRequest, PurgeTopicsRequest, start_position::Position},
};
use tonic::Code;

use super::{client::earliest, ledger::Ledger, *};
use crate::support::{self, run, small_disk::SmallDisk};

const MIB: usize = 1 << 20;

/// A publisher that writes down what it is told.
#[derive(Default)]
struct Publisher {
    ledger: Ledger,
    number: u64,
}

impl Publisher {
    /// Publishes so many messages of about so many bytes, or until one is refused.
    async fn publish(&mut self, client: &Client, messages: usize, bytes: usize) -> Result<(), Fault> {
        for _ in 0..messages {
            self.number += 1;
            let request = message("p", format!("p/{} {}", self.number, "x".repeat(bytes)));
            self.publish_one(client, &request).await?;
        }
        Ok(())
    }

    async fn publish_one(&mut self, client: &Client, request: &PublishRequest) -> Result<(), Fault> {
        self.ledger.try_all(std::slice::from_ref(request), false);
        match client.publish(request.clone()).await {
            Ok(answer) => self.ledger.tell(request, &answer),
            Err(status) => {
                let fault = ended_with(Some(status), Code::ResourceExhausted, "STORAGE_FULL");
                assert!(fault.retry_delay.is_some(), "{fault:?}");
                self.ledger.refuse(request);
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Reads everything, and holds it against what was told.
    async fn check(&mut self, client: &Client) {
        let read = client.read(Position::Sequence(self.ledger.end() + 1)).await;
        assert!(read.failure.is_none() && read.gaps.is_empty(), "{:?} {:?}", read.failure, read.gaps);
        self.ledger.check(&read.messages);
        let whole = client.read(earliest()).await;
        self.ledger.check_whole(&whole.messages);
    }
}

#[tokio::test]
async fn publishing_is_refused_and_goes_on_when_there_is_room() {
    for round in 0..rounds(2, 12) {
        let place = tempfile::tempdir().unwrap();
        let disk = SmallDisk::new(place.path(), 24 * MIB);
        disk.take(Some(8 * MIB));
        let broker = disk.start();
        let client = Client::of(&broker).await;
        let mut publisher = Publisher::default();
        let bytes = [100_000, 3_000, 900_000, 30_000][round % 4];
        let refused = publisher.publish(&client, 100_000, bytes).await;
        assert!(refused.is_err(), "the disk does not get full");
        for _ in 0..5 {
            // It may still have room for a small one.
            let _ = publisher.publish(&client, 1, bytes).await;
            let _ = publisher.publish(&client, 1, 1).await;
        }
        assert_eq!(client.page("/healthz").await, "HTTP/1.1 200 OK");
        assert_eq!(client.page("/readyz").await, "HTTP/1.1 200 OK");
        publisher.check(&client).await;

        disk.give();
        publisher.publish(&client, 2, bytes).await.unwrap();
        publisher.publish(&client, 10, 1).await.unwrap();
        publisher.check(&client).await;
        match round % 2 {
            0 => broker.kill(),
            _ => broker.stop(),
        }
        let broker = disk.start();
        let client = Client::of(&broker).await;
        publisher.check(&client).await;
        publisher.publish(&client, 10, 1).await.unwrap();
        publisher.check(&client).await;
        broker.stop();
    }
}

#[tokio::test]
async fn a_broker_that_finds_its_disk_full_stops_in_order_and_starts_again() {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(place.path(), 8 * MIB);
    let mut publisher = Publisher::default();
    for kill in [false, true] {
        let broker = disk.start();
        let client = Client::of(&broker).await;
        publisher.publish(&client, 10, 1_000).await.unwrap();
        disk.take(None);
        assert!(publisher.publish(&client, 1_000, 3_000).await.is_err());
        match kill {
            true => broker.kill(),
            false => broker.stop(),
        }
        // Without room for a new segment it still opens, and lets everybody read.
        let broker = disk.start();
        let client = Client::of(&broker).await;
        publisher.check(&client).await;
        disk.give();
        publisher.publish(&client, 10, 1_000).await.unwrap();
        publisher.check(&client).await;
        broker.stop();
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_is_said_in_words() {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(place.path(), MIB);
    disk.take(None);
    let told = run(disk.with(&support::serve(place.path(), &[])), None).told(1);
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("error: ") && (last.contains("is full") || last.contains("No space left")), "{told}");
    disk.give();
    disk.start().stop();
}

#[tokio::test]
async fn namespaces_and_purges_are_refused_and_go_on_when_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(place.path(), 12 * MIB);
    let broker = disk.start();
    let client = Client::of(&broker).await;
    client.publish(message("purged", "x")).await.unwrap();
    disk.take(None);
    let namespace = |at: usize| Namespace { name: format!("team-{at}"), ..Default::default() };
    let mut refused = None;
    for at in 0..100 {
        if let Err(status) = client.create_namespace(namespace(at)).await {
            ended_with(Some(status), Code::ResourceExhausted, "STORAGE_FULL");
            refused = Some(at);
            break;
        }
    }
    let refused = refused.expect("there is no room for so many namespaces");
    // Whatever becomes of it: it is answered, and the broker lives on.
    let purge = PurgeTopicsRequest { pattern: "purged".into(), ..Default::default() };
    if let Err(status) = client.topics().purge_topics(purge.clone()).await {
        ended_with(Some(status), Code::ResourceExhausted, "STORAGE_FULL");
    }
    assert_eq!(client.page("/readyz").await, "HTTP/1.1 200 OK");

    disk.give();
    client.create_namespace(namespace(refused)).await.unwrap();
    client.publish(PublishRequest { namespace: format!("team-{refused}"), ..message("a", "x") }).await.unwrap();
    client.topics().purge_topics(purge).await.unwrap();
    assert!(client.read(earliest()).await.messages.is_empty());
    broker.kill();
    let broker = disk.start();
    let client = Client::of(&broker).await;
    assert!(client.read(earliest()).await.messages.is_empty());
    client.publish(PublishRequest { namespace: format!("team-{refused}"), ..message("a", "x") }).await.unwrap();
    broker.stop();
}

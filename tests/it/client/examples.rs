//! What the documentation of the client shows, run.

use tilde::client::{Client, Event, Fault, PublishRequest, Start};

use super::soon;
use crate::support::Tilde;

/// As in `src/client/mod.rs`, and ended after the first messages.
async fn publish_and_follow(url: &str) -> Result<(Option<u64>, usize), Fault> {
    let client = Client::connect(url).await?;

    let publisher = client.publisher();
    let published = publisher.publish(PublishRequest::text("orders/eu", r#"{"id":7}"#)).await?;

    let mut orders = client.subscribe(["orders/~"]).from(Start::Earliest).start();
    while let Some(event) = orders.next().await {
        if let Event::Messages { messages, cursor } = event? {
            assert_eq!(orders.cursor(), Some(&*cursor));
            return Ok((published.sequence, messages.len()));
        }
    }
    unreachable!("it goes on until it is dropped")
}

/// As at `Publisher::send`.
async fn many_in_flight(url: &str) -> Result<(), Fault> {
    let publisher = Client::connect(url).await?.publisher();
    let mut pending = Vec::new();
    for n in 0..1_000 {
        pending.push(publisher.send(PublishRequest::text("numbers", n.to_string())).await?);
    }
    for one in pending {
        one.await?;
    }
    Ok(())
}

/// As at `Consumer::next`, and ended after all that there is.
async fn work_off(url: &str) -> Result<(), Fault> {
    let client = Client::connect(url).await?;
    let mut mails = client.consume("mails").start();
    for _ in 0..2 {
        let Some(delivery) = mails.next().await else { break };
        let delivery = delivery?;
        match std::str::from_utf8(delivery.message.bytes()) {
            Ok(_) => {
                delivery.ack();
            }
            Err(error) => {
                let settling = delivery.reject(error.to_string());
                settling.await?;
            }
        }
    }
    mails.close().await
}

#[tokio::test]
async fn they_do_what_they_say() {
    let broker = Tilde::in_memory();
    assert_eq!(soon("the first", publish_and_follow(&broker.url)).await, Ok((Some(1), 1)));
    soon("the second", many_in_flight(&broker.url)).await.unwrap();
    broker.run(&["subscription", "create", "mails", "mail/~"]).ok();
    broker.run(&["publish", "mail/1", "to ann"]).ok();
    let publisher = Client::connect(&broker.url).await.unwrap().publisher();
    soon("a message", publisher.publish(PublishRequest::data("mail/2", vec![0xff]))).await.unwrap();
    soon("the third", work_off(&broker.url)).await.unwrap();
    let stats = broker.run(&["subscription", "show", "mails", "--format", "json"]).json().remove(0)["stats"].clone();
    assert_eq!((&stats["acked"], &stats["dead_lettered"]), (&1.into(), &1.into()));
}

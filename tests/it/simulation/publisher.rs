//! Publishes what follows from its dice, and tries again what was not answered, under the same id; sometimes it gives up,
//! and nobody knows whether it was stored.

use std::time::Duration;

use tilde::pb::v1::{
    BatchPublishRequest, PublishRequest, broker_client::BrokerClient, publish_request::Payload,
    publish_result::Result as Published,
};
use tokio::time::{sleep, timeout};

use super::{
    history::{Message, What},
    world::{PATIENCE, Scene, Stage},
};
use crate::support::dice::Dice;

/// Batches of one publisher.
const BATCHES: u64 = 35;
/// Messages in one, at most.
const TOGETHER: u64 = 5;

pub async fn publish(scene: Scene, host: usize, mut dice: Dice) -> turmoil::Result {
    scene.reached(Stage::Storm).await;
    let mut client = BrokerClient::new(scene.connect(0));
    for batch in 0..BATCHES {
        let messages = (0..=dice.roll(TOGETHER)).map(|n| message(format!("{host}-{batch}-{n}"), &mut dice));
        let mut waiting: Vec<_> = messages.collect();
        waiting.iter().for_each(|message| scene.write(What::Published(message.clone())));
        while !waiting.is_empty() {
            if scene.stage() == Stage::Storm && dice.hits(20) {
                break;
            }
            let requests = waiting.iter().map(request).collect();
            let call = client.batch_publish(BatchPublishRequest { requests, atomic: false });
            if let Ok(Ok(answer)) = timeout(PATIENCE, call).await {
                let mut results = answer.into_inner().results.into_iter();
                waiting.retain(|message| match results.next().and_then(|result| result.result) {
                    Some(Published::Published(stored)) => {
                        scene.write(What::Stored { text: message.text.clone(), sequence: stored.sequence });
                        false
                    }
                    _ => true,
                });
            }
            sleep(Duration::from_millis(dice.roll(300))).await;
        }
    }
    scene.publishing.set(scene.publishing.get() - 1);
    Ok(())
}

fn message(text: String, dice: &mut Dice) -> Message {
    let topic = ["jobs/a", "jobs/a/1", "jobs/b", "misc"][dice.roll(4) as usize].to_owned();
    let key = ["", "red", "green", "blue"][dice.roll(4) as usize].to_owned();
    Message { text, topic, key, loud: dice.hits(2) }
}

fn request(message: &Message) -> PublishRequest {
    PublishRequest {
        topic: message.topic.clone(),
        ordering_key: message.key.clone(),
        message_id: message.text.clone(),
        attributes: [("loud".to_owned(), message.loud.to_string())].into(),
        payload: Some(Payload::Text(message.text.clone())),
        ..Default::default()
    }
}

//! Works on what comes as its dice say: acknowledges at once, late or twice, fails, releases, rejects, extends, lets
//! leases expire, goes in order or without a word, and says on one connection what came on another. When nothing goes
//! wrong any more it behaves. Writes down what it sees and says, before it says it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tilde::pb::v1::{
    self as pb, AcknowledgeRequest, Attach, ConsumeRequest, ConsumeResponse, FlowControl, PullRequest, Settlement,
    broker_client::BrokerClient, message::Payload,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    history::{Delivery, Message, Part, Stream, Verdict, What},
    world::{self, PATIENCE, Scene, Stage, duration, rules},
};
use crate::support::dice::Dice;

/// Works off a subscription, on one stream after the other.
pub async fn consume(scene: Scene, host: usize, subscription: usize, mut dice: Dice) {
    scene.reached(Stage::Storm).await;
    let mut plans = Plans::default();
    while scene.stage() < Stage::Over {
        let stream = Stream { subscription, host, number: scene.book.stream() };
        let mut session = Session { scene: scene.clone(), stream, dice: dice.split(), plans, said: HashMap::new() };
        scene.write(What::Attaching(stream));
        session.run().await;
        scene.write(What::Broke(Part::Stream(stream.number)));
        plans = session.plans;
        // What it had is forgotten, or said on the next stream.
        if dice.hits(2) {
            plans = Plans::default();
        }
        sleep(Duration::from_millis(dice.roll(300))).await;
    }
}

/// What will be said, and when; the number tells apart what is due at the same time.
#[derive(Default)]
struct Plans(BTreeMap<(Instant, u64), (String, Verdict)>, u64);

impl Plans {
    fn add(&mut self, after: Duration, ack_id: &str, verdict: Verdict) {
        self.1 += 1;
        self.0.insert((Instant::now() + after, self.1), (ack_id.to_owned(), verdict));
    }

    fn due(&self) -> Option<Instant> {
        self.0.first_key_value().map(|((at, _), _)| *at)
    }
}

/// One stream.
struct Session {
    scene: Scene,
    stream: Stream,
    dice: Dice,
    plans: Plans,
    // What was said on this stream, and not answered for certain.
    said: HashMap<String, Vec<Verdict>>,
}

impl Session {
    async fn run(&mut self) {
        let behaves = self.behaves();
        let confirm = behaves || self.dice.hits(2);
        let channel = self.scene.connect(self.stream.host);
        let Some((send, mut responses)) = self.attach(channel.clone(), confirm).await else { return };
        let life = if behaves { 600_000 } else { 200 + self.dice.roll(5_000) };
        let mut end = Instant::now() + Duration::from_millis(life);
        let mut is_detached = false;
        loop {
            let due = self.plans.due().unwrap_or(end);
            tokio::select! {
                biased;
                () = sleep_until(end), if !behaves => {
                    if is_detached || self.dice.hits(2) {
                        return;
                    }
                    self.scene.write(What::Detaching(self.stream));
                    let detach = ConsumeRequest { detach: true, ..Default::default() };
                    let _ = send.try_send(detach);
                    is_detached = true;
                    end = Instant::now() + Duration::from_secs(2);
                }
                () = self.scene.reached(Stage::Over) => return,
                response = responses.message() => match response {
                    Ok(Some(response)) => self.take(response, confirm),
                    Ok(None) | Err(_) => return,
                },
                () = sleep_until(due) => self.say(&send, &channel).await,
            }
        }
    }

    async fn attach(
        &mut self,
        channel: Channel,
        confirm: bool,
    ) -> Option<(mpsc::Sender<ConsumeRequest>, Streaming<ConsumeResponse>)> {
        let (send, requests) = mpsc::channel(1_000);
        let window = if self.behaves() { 100 } else { 1 + self.dice.roll(20) as u32 };
        let attach = Attach {
            subscription: rules()[self.stream.subscription].name.into(),
            consumer_id: format!("consumer-{}", self.stream.host),
            flow_control: Some(FlowControl { max_outstanding_messages: Some(window), max_outstanding_bytes: None }),
            confirm,
            ..Default::default()
        };
        send.try_send(ConsumeRequest { attach: Some(attach), ..Default::default() }).ok()?;
        let mut client = BrokerClient::new(channel);
        let call = timeout(PATIENCE, client.consume(ReceiverStream::new(requests)));
        Some((send, call.await.ok()?.ok()?.into_inner()))
    }

    fn take(&mut self, response: ConsumeResponse, confirm: bool) {
        if response.attached.is_some() {
            self.scene.write(What::Attached(self.stream));
        }
        for confirmation in response.confirmations {
            for ack_id in confirmation.ack_ids {
                let said = self.said.entry(ack_id.clone()).or_default();
                // An answer names the delivery, not the word: which is meant is plain only while all that wait are alike.
                if said.iter().any(|other| *other != said[0]) {
                    continue;
                }
                let verdict = if confirm { said.remove(0) } else { said[0] };
                let refusal = (confirmation.code != 0).then(|| confirmation.reason.clone());
                self.scene.write(What::Told { ack_id, verdict, refusal });
            }
        }
        for delivery in response.deliveries {
            let delivery =
                received(&self.scene, delivery, self.stream.subscription, self.stream.host, Some(self.stream));
            let ack_id = delivery.ack_id.clone();
            self.scene.write(What::Delivered(delivery));
            self.plan(&ack_id);
        }
    }

    fn plan(&mut self, ack_id: &str) {
        let mut after = |most| Duration::from_millis(self.dice.roll(most));
        let (soon, late, by) = (after(300), after(4_000), after(4_000));
        let mut add = |after, verdict| self.plans.add(after, ack_id, verdict);
        if self.scene.stage() >= Stage::Calm {
            return add(Duration::ZERO, Verdict::Ack);
        }
        match self.dice.roll(100) {
            0..50 => add(soon, Verdict::Ack),
            50..58 => add(late, Verdict::Ack),
            58..66 => add(soon, Verdict::Nack),
            66..72 => add(soon, Verdict::Release),
            72..75 => add(soon, Verdict::Reject),
            75..83 => {
                add(soon, Verdict::Extend(by));
                add(soon + late, Verdict::Ack);
            }
            83..87 => {
                add(soon, Verdict::Ack);
                add(soon, Verdict::Ack);
            }
            _ => {}
        }
    }

    /// Says what is due, here or elsewhere.
    async fn say(&mut self, send: &mpsc::Sender<ConsumeRequest>, channel: &Channel) {
        let Some((_, (ack_id, verdict))) = self.plans.0.pop_first() else { return };
        if !self.behaves() && self.dice.hits(10) {
            let scene = self.scene.clone();
            let (channel, subscription) = (channel.clone(), self.stream.subscription);
            tokio::task::spawn_local(async move { acknowledge(scene, channel, subscription, ack_id, verdict).await });
            return;
        }
        self.scene.write(What::Said { ack_id: ack_id.clone(), verdict });
        self.said.entry(ack_id.clone()).or_default().push(verdict);
        let settlements = vec![settlement(ack_id, verdict, &mut self.dice)];
        let _ = send.try_send(ConsumeRequest { settlements, ..Default::default() });
    }

    fn behaves(&self) -> bool {
        self.scene.stage() >= Stage::Calm
    }
}

/// Takes what waits, a few at a time, and settles it by calls of its own.
pub async fn pull(scene: Scene, host: usize, subscription: usize, mut dice: Dice) {
    scene.reached(Stage::Storm).await;
    let channel = scene.connect(host);
    let mut client = BrokerClient::new(channel.clone());
    while scene.stage() < Stage::Over {
        let request = PullRequest {
            subscription: rules()[subscription].name.into(),
            max_messages: 1 + dice.roll(5) as u32,
            max_wait: Some(duration(Duration::from_millis(dice.roll(1_000)))),
            include_backing_off: dice.roll(4) == 0,
            ..Default::default()
        };
        if let Ok(Ok(answer)) = timeout(PATIENCE, client.pull(request)).await {
            let deliveries = answer.into_inner().deliveries.into_iter();
            let deliveries: Vec<_> =
                deliveries.map(|delivery| received(&scene, delivery, subscription, host, None)).collect();
            deliveries.iter().for_each(|delivery| scene.write(What::Delivered(delivery.clone())));
            for Delivery { ack_id, .. } in deliveries {
                let behaves = scene.stage() >= Stage::Calm;
                let verdict = match dice.roll(10) {
                    _ if behaves => Verdict::Ack,
                    0..6 => Verdict::Ack,
                    6 => Verdict::Nack,
                    7 => Verdict::Release,
                    _ => continue,
                };
                if !behaves {
                    sleep(Duration::from_millis(dice.roll(200))).await;
                }
                acknowledge(scene.clone(), channel.clone(), subscription, ack_id, verdict).await;
            }
        }
        sleep(Duration::from_millis(dice.roll(500))).await;
    }
}

/// Settles a delivery by a call of its own.
async fn acknowledge(scene: Scene, channel: Channel, subscription: usize, ack_id: String, verdict: Verdict) {
    scene.write(What::Said { ack_id: ack_id.clone(), verdict });
    let request = AcknowledgeRequest {
        subscription: rules()[subscription].name.into(),
        settlements: vec![settlement(ack_id.clone(), verdict, &mut Dice::of(1))],
        ..Default::default()
    };
    if let Ok(Ok(answer)) = timeout(PATIENCE, BrokerClient::new(channel).acknowledge(request)).await {
        let refusal = answer.into_inner().refused.into_iter().next().map(|refused| refused.reason);
        scene.write(What::Told { ack_id, verdict, refusal });
    }
}

fn settlement(ack_id: String, verdict: Verdict, dice: &mut Dice) -> Settlement {
    let (verdict, delay) = match verdict {
        Verdict::Ack => (pb::Verdict::Ack, None),
        Verdict::Nack => (pb::Verdict::Nack, dice.hits(2).then(|| Duration::from_millis(dice.roll(2_000)))),
        Verdict::Release => (pb::Verdict::Release, None),
        Verdict::Reject => (pb::Verdict::Reject, None),
        Verdict::Extend(by) => (pb::Verdict::Extend, Some(by)),
    };
    let (verdict, delay) = (verdict.into(), delay.map(duration));
    Settlement { ack_ids: vec![ack_id], verdict, delay, ..Default::default() }
}

fn received(
    scene: &Scene,
    delivery: pb::Delivery,
    subscription: usize,
    host: usize,
    stream: Option<Stream>,
) -> Delivery {
    let message = delivery.message.unwrap_or_default();
    let Some(Payload::Text(text)) = message.payload else { panic!("no text: {message:?}") };
    Delivery {
        ack_id: delivery.ack_id,
        subscription,
        stream,
        message: Message {
            text,
            topic: message.topic,
            key: message.ordering_key,
            loud: message.attributes.get("loud").is_some_and(|loud| loud == "true"),
        },
        sequence: message.sequence,
        attempt: delivery.attempt,
        not_before: scene.book.not_before(host, world::now()),
    }
}

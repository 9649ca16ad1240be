//! Retention wins over what is not settled: its consumers are told a gap, the subscription counts it, and what is left is
//! delivered. Never a word of what was settled before it went.

use tempfile::TempDir;
use tilde::{
    client::connect,
    pb::v1::{
        AckMode, AcknowledgeRequest, Attach, ConsumeRequest, ConsumeResponse, CreateSubscriptionRequest, FlowControl,
        Gap, GetSubscriptionRequest, Namespace, PublishRequest, PullRequest, Settlement, SubscribeRequest,
        Subscription, SubscriptionStats, Verdict, broker_client::BrokerClient, gap::Reason, start_position::Position,
        subscriptions_client::SubscriptionsClient,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    Client, PATIENCE, Tilde,
    client::{self, message},
};

/// A namespace that keeps 1 MiB, with the subscription `work` of `a`.
struct Small {
    directory: TempDir,
    broker: Tilde,
    client: Client,
    channel: Channel,
    published: u64,
}

impl Small {
    async fn new() -> Small {
        let directory = tempfile::tempdir().unwrap();
        let broker = Tilde::start_in(directory.path(), &[]);
        let (client, channel) = (Client::of(&broker).await, connect(&broker.url).await.unwrap());
        let namespace = Namespace { name: "small".into(), max_bytes: Some(1 << 20), ..Default::default() };
        client.create_namespace(namespace).await.unwrap();
        let small = Small { directory, broker, client, channel, published: 0 };
        let subscription = Subscription {
            name: "work".into(),
            namespace: "small".into(),
            topics: vec!["a".into()],
            ack_deadline: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            ..Default::default()
        };
        let request = CreateSubscriptionRequest { subscription: Some(subscription) };
        small.subscriptions().create_subscription(request).await.unwrap();
        small
    }

    fn subscriptions(&self) -> SubscriptionsClient<Channel> {
        SubscriptionsClient::new(self.channel.clone())
    }

    fn broker(&self) -> BrokerClient<Channel> {
        BrokerClient::new(self.channel.clone()).max_decoding_message_size(8 << 20)
    }

    async fn publish(&mut self, messages: u64, bytes: usize) {
        for _ in 0..messages {
            let request = PublishRequest { namespace: "small".into(), ..message("a", "x".repeat(bytes)) };
            self.published = self.client.publish(request).await.unwrap().sequence;
        }
    }

    /// Publishes until retention has taken something, and starts the broker anew: what is in memory can be read longer.
    async fn overflow(mut self) -> Small {
        self.publish(40, 50_000).await;
        self.first_kept().await;
        self.broker.stop();
        let broker = Tilde::start_in(self.directory.path(), &[]);
        let (client, channel) = (Client::of(&broker).await, connect(&broker.url).await.unwrap());
        Small { broker, client, channel, ..self }
    }

    /// The first that is kept, when retention has taken something.
    async fn first_kept(&self) -> u64 {
        let request = SubscribeRequest {
            namespace: "small".into(),
            start: client::start(Position::Sequence(1)),
            ..client::everything()
        };
        let patient = async {
            loop {
                let read = self.client.read_with(request.clone()).await;
                if let [gap] = read.gaps[..] {
                    return gap.last_sequence + 1;
                }
            }
        };
        timeout(PATIENCE, patient).await.expect("retention takes nothing")
    }

    async fn pull(&self, most: u32) -> (Vec<(u64, String)>, Option<Gap>) {
        let request = PullRequest {
            subscription: "work".into(),
            namespace: "small".into(),
            max_messages: most,
            max_wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
            ..Default::default()
        };
        let answer = timeout(PATIENCE, self.broker().pull(request)).await.unwrap().unwrap().into_inner();
        let deliveries = answer.deliveries.into_iter();
        (deliveries.map(|delivery| (delivery.message.unwrap().sequence, delivery.ack_id)).collect(), answer.gap)
    }

    async fn settle(&self, ack_ids: Vec<String>, verdict: Verdict) {
        let settlements = vec![Settlement { ack_ids, verdict: verdict.into(), ..Default::default() }];
        let request = AcknowledgeRequest { subscription: "work".into(), namespace: "small".into(), settlements };
        assert_eq!(self.broker().acknowledge(request).await.unwrap().into_inner().refused, []);
    }

    async fn stats(&self) -> SubscriptionStats {
        let request = GetSubscriptionRequest { name: "work".into(), namespace: "small".into() };
        let subscription = self.subscriptions().get_subscription(request).await.unwrap().into_inner().subscription;
        subscription.unwrap().stats.unwrap()
    }

    /// A stream on which what is delivered is done.
    async fn consume(&self) -> (mpsc::Sender<ConsumeRequest>, Streaming<ConsumeResponse>) {
        let (send, requests) = mpsc::channel(1);
        let flow = FlowControl { max_outstanding_messages: None, max_outstanding_bytes: Some(64 << 20) };
        let attach = Attach {
            subscription: "work".into(),
            namespace: "small".into(),
            ack_mode: AckMode::Auto.into(),
            flow_control: Some(flow),
            ..Default::default()
        };
        send.send(ConsumeRequest { attach: Some(attach), ..Default::default() }).await.unwrap();
        (send, self.broker().consume(ReceiverStream::new(requests)).await.unwrap().into_inner())
    }
}

#[tokio::test]
async fn what_was_not_read_yet_is_a_gap_and_the_rest_is_delivered() {
    let small = Small::new().await.overflow().await;
    let first = small.first_kept().await;
    let (_open, mut stream) = small.consume().await;
    let (mut gaps, mut sequences) = (Vec::new(), Vec::new());
    while sequences.last() != Some(&small.published) {
        let response = timeout(PATIENCE, stream.message()).await.expect("the stream is silent").unwrap().unwrap();
        gaps.extend(response.gap);
        sequences.extend(response.deliveries.into_iter().map(|delivery| delivery.message.unwrap().sequence));
    }
    // Retention may have gone on until the stream began.
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert_eq!((gap.reason(), gap.first_sequence), (Reason::Retention, 1));
    assert!(gap.last_sequence + 1 >= first);
    assert!(sequences.into_iter().eq(gap.last_sequence + 1..=small.published), "all behind the gap comes, in order");
    let stats = small.stats().await;
    assert_eq!((stats.removed_by_retention, stats.backlog_messages), (gap.last_sequence, 0));
    assert_eq!((stats.acked, stats.expired), (small.published - gap.last_sequence, 0));
    small.broker.stop();
}

#[tokio::test]
async fn of_what_comes_again_only_what_was_not_settled_is_missed() {
    let mut small = Small::new().await;
    small.publish(10, 10).await;
    let (held, gap) = small.pull(10).await;
    assert_eq!((held.len(), gap), (10, None));
    let even = held.into_iter().filter(|(at, _)| at % 2 == 0);
    small.settle(even.map(|(_, id)| id).collect(), Verdict::Ack).await;
    // The odd ones are to come again, and are gone.
    let small = small.overflow().await;
    assert!(small.first_kept().await > 10);
    let (mut gaps, mut sequences) = (Vec::new(), Vec::new());
    while sequences.last() != Some(&small.published) {
        let (pulled, gap) = small.pull(1_000).await;
        gaps.extend(gap);
        small.settle(pulled.iter().map(|(_, id)| id.clone()).collect(), Verdict::Ack).await;
        sequences.extend(pulled.into_iter().map(|(sequence, _)| sequence));
    }
    let first = sequences[0];
    assert!(sequences.into_iter().eq(first..=small.published), "all behind the gap comes, in order");
    let told: Vec<_> = gaps.iter().map(|gap| (gap.reason(), gap.first_sequence, gap.last_sequence)).collect();
    assert_eq!(told, [(Reason::Retention, 1, 9), (Reason::Retention, 11, first - 1)]);
    let stats = small.stats().await;
    assert_eq!((stats.removed_by_retention, stats.expired), (5 + first - 11, 0), "five of the ten were settled");
    assert_eq!(stats.outstanding_messages, 0);
    small.broker.stop();
}

//! What consumers ask and say that makes no sense: each gets a real status that names the field at fault, and nobody and
//! nothing else is hurt by it.

use std::time::Duration;

use tilde::pb::v1::{
    AckMode, AcknowledgeRequest, Attach, ConsumeRequest, ConsumeResponse, CreateSubscriptionRequest,
    ExplainDeliveryRequest, FlowControl, GetSubscriptionRequest, PullRequest, Settlement, Subscription, Verdict,
    explain_delivery_response::Standing, subscriptions_client::SubscriptionsClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{refusals::assert_refused, *};

/// What a good one of each says.
fn attach() -> Attach {
    Attach { subscription: "work".into(), ..Default::default() }
}

fn pull() -> PullRequest {
    PullRequest { subscription: "work".into(), ..Default::default() }
}

fn settlement(ack_ids: &[&str], verdict: Verdict) -> Settlement {
    let ack_ids = ack_ids.iter().map(|id| id.to_string()).collect();
    Settlement { ack_ids, verdict: verdict.into(), ..Default::default() }
}

fn settling(settlement: Settlement) -> AcknowledgeRequest {
    AcknowledgeRequest { subscription: "work".into(), settlements: vec![settlement], ..Default::default() }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

type Sender = mpsc::Sender<ConsumeRequest>;

impl Edge {
    /// With the subscriptions `work` of `a`, and `other` of the same.
    async fn with_work() -> Edge {
        let edge = Edge::start().await;
        for name in ["work", "other"] {
            let subscription = Subscription { name: name.into(), topics: vec!["a".into()], ..Default::default() };
            let request = CreateSubscriptionRequest { subscription: Some(subscription) };
            SubscriptionsClient::new(edge.channel.clone()).create_subscription(request).await.unwrap();
        }
        edge
    }

    async fn consume(&self, first: ConsumeRequest) -> Result<(Sender, Streaming<ConsumeResponse>), Status> {
        let (send, requests) = mpsc::channel(10);
        send.send(first).await.unwrap();
        let mut broker = self.broker();
        let answer = timeout(PATIENCE, broker.consume(ReceiverStream::new(requests))).await;
        Ok((send, answer.expect("the stream does not begin")?.into_inner()))
    }

    /// What a stream of `work` says to a request, after it has begun.
    async fn said(&self, request: ConsumeRequest) -> Result<ConsumeResponse, Status> {
        let first = ConsumeRequest { attach: Some(Attach { confirm: true, ..attach() }), ..Default::default() };
        let (send, mut stream) = self.consume(first).await.unwrap();
        assert!(heard(&mut stream).await.unwrap().attached.is_some());
        send.send(request).await.unwrap();
        heard(&mut stream).await
    }

    /// The ack id of what waits in a subscription.
    async fn pulled(&self, subscription: &str) -> String {
        let request = PullRequest { subscription: subscription.into(), max_wait: seconds(10), ..Default::default() };
        let mut deliveries = self.broker().pull(request).await.unwrap().into_inner().deliveries;
        assert_eq!(deliveries.len(), 1);
        deliveries.remove(0).ack_id
    }

    /// Whoever behaves is served as if nothing had been.
    async fn works(&self) {
        self.publish("a", "x").await;
        let ack_id = self.pulled("work").await;
        let request = settling(settlement(&[&ack_id], Verdict::Ack));
        assert_eq!(self.broker().acknowledge(request).await.unwrap().into_inner().refused, []);
        let request = GetSubscriptionRequest { name: "work".into(), ..Default::default() };
        let subscription = SubscriptionsClient::new(self.channel.clone()).get_subscription(request).await.unwrap();
        let stats = subscription.into_inner().subscription.unwrap().stats.unwrap();
        assert_eq!((stats.outstanding_messages, stats.backlog_messages), (0, 0));
    }
}

async fn heard(stream: &mut Streaming<ConsumeResponse>) -> Result<ConsumeResponse, Status> {
    Ok(timeout(PATIENCE, stream.message()).await.expect("the stream is silent")?.expect("the stream ended"))
}

#[tokio::test]
async fn a_stream_that_begins_badly_is_refused() {
    let edge = Edge::with_work().await;
    let invalid = |field| (Code::InvalidArgument, "REQUEST_INVALID", Some(field));
    let name = |field| (Code::InvalidArgument, "SUBSCRIPTION_INVALID", Some(field));
    let cases = [
        (None, invalid("attach")),
        (Some(Attach { subscription: "none".into(), ..attach() }), (Code::NotFound, "SUBSCRIPTION_NOT_FOUND", None)),
        (Some(Attach { namespace: "none".into(), ..attach() }), (Code::NotFound, "NAMESPACE_NOT_FOUND", None)),
        (Some(Attach { subscription: String::new(), ..attach() }), name("attach.subscription")),
        (Some(Attach { subscription: "a~".into(), ..attach() }), name("attach.subscription")),
        (Some(Attach { consumer_id: "c".repeat(256), ..attach() }), name("attach.consumer_id")),
        (Some(Attach { ack_mode: 7, ..attach() }), invalid("attach.ack_mode")),
        (Some(Attach { heartbeat_interval: seconds(301), ..attach() }), invalid("heartbeat_interval")),
        (Some(Attach { heartbeat_interval: seconds(-1), ..attach() }), invalid("heartbeat_interval")),
    ];
    for (attach, (code, reason, field)) in cases {
        let first = ConsumeRequest { attach: attach.clone(), ..Default::default() };
        let refused = match edge.consume(first).await {
            Ok((_send, mut stream)) => heard(&mut stream).await.unwrap_err(),
            Err(refused) => refused,
        };
        assert_refused(&refused, code, reason, field);
    }
    edge.works().await;
}

/// Settlements that are refused as a whole, with the field at fault.
fn senseless(ack_id: &str) -> Vec<(Settlement, &'static str)> {
    let good = || settlement(&[ack_id], Verdict::Nack);
    let extend = || settlement(&[ack_id], Verdict::Extend);
    vec![
        (settlement(&[ack_id], Verdict::Unspecified), "settlements.verdict"),
        (Settlement { verdict: 77, ..good() }, "settlements.verdict"),
        (Settlement { delay: seconds(-1), ..good() }, "settlements.delay"),
        (Settlement { delay: seconds(12 * 3_600 + 1), ..good() }, "settlements.delay"),
        (Settlement { delay: seconds(i64::MAX), ..extend() }, "settlements.delay"),
        (Settlement { reason: "r".repeat(256), ..good() }, "settlements.reason"),
        (settlement(&[ack_id; 100_000], Verdict::Ack), "settlements"),
    ]
}

#[tokio::test]
async fn what_makes_no_sense_as_a_whole_settles_nothing() {
    let edge = Edge::with_work().await;
    edge.publish("a", "held").await;
    let held = edge.pulled("work").await;
    for (senseless, field) in senseless(&held) {
        let request = ConsumeRequest { settlements: vec![senseless.clone()], ..Default::default() };
        let refused = edge.said(request).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, "REQUEST_INVALID", Some(field));
        // The good beside it is not settled either.
        let mut request = settling(settlement(&[&held], Verdict::Ack));
        request.settlements.push(senseless);
        let refused = edge.broker().acknowledge(request).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, "REQUEST_INVALID", Some(field));
    }
    let again = ConsumeRequest { attach: Some(attach()), ..Default::default() };
    assert_refused(&edge.said(again).await.unwrap_err(), Code::InvalidArgument, "REQUEST_INVALID", Some("attach"));
    for (request, reason) in [
        (AcknowledgeRequest { subscription: "none".into(), ..Default::default() }, "SUBSCRIPTION_NOT_FOUND"),
        (AcknowledgeRequest { namespace: "none".into(), ..settling(Settlement::default()) }, "NAMESPACE_NOT_FOUND"),
    ] {
        let request = AcknowledgeRequest { settlements: vec![], ..request };
        assert_refused(&edge.broker().acknowledge(request).await.unwrap_err(), Code::NotFound, reason, None);
    }
    // Whoever has it still has it.
    let request = settling(settlement(&[&held], Verdict::Ack));
    assert_eq!(edge.broker().acknowledge(request).await.unwrap().into_inner().refused, []);
    edge.works().await;
}

#[tokio::test]
async fn ack_ids_that_mean_nothing_here_are_told_one_by_one() {
    let edge = Edge::with_work().await;
    edge.publish("a", "held").await;
    let (held, foreign) = (edge.pulled("work").await, edge.pulled("other").await);
    let malformed = ["", "x", "not an ack id at all!!", &"A".repeat(22), &"A".repeat(500)];
    let all: Vec<_> = [foreign.as_str()].into_iter().chain(malformed).collect();
    for verdict in [Verdict::Ack, Verdict::Nack, Verdict::Extend, Verdict::Release, Verdict::Reject] {
        let refused =
            edge.broker().acknowledge(settling(settlement(&all, verdict))).await.unwrap().into_inner().refused;
        let request = ConsumeRequest { settlements: vec![settlement(&all, verdict)], ..Default::default() };
        for refused in [refused, edge.said(request).await.unwrap().confirmations] {
            let [refused] = &refused[..] else { panic!("{refused:?}") };
            assert_eq!((refused.code, &*refused.reason), (Code::InvalidArgument as i32, "ACK_ID_INVALID"));
            assert_eq!(refused.ack_ids, all);
        }
    }
    // One that is good among others is taken; and the foreign one is good where it comes from.
    let mut among = all.clone();
    among.insert(2, &held);
    let told = edge.broker().acknowledge(settling(settlement(&among, Verdict::Ack))).await.unwrap().into_inner();
    assert_eq!(told.refused[0].ack_ids, all);
    let home = AcknowledgeRequest { subscription: "other".into(), ..settling(settlement(&[&foreign], Verdict::Ack)) };
    assert_eq!(edge.broker().acknowledge(home).await.unwrap().into_inner().refused, []);
    edge.works().await;
}

#[tokio::test]
async fn a_pull_that_makes_no_sense_is_refused() {
    let edge = Edge::with_work().await;
    let invalid = Code::InvalidArgument;
    for (request, code, reason, field) in [
        (PullRequest { max_messages: 100_001, ..pull() }, invalid, "REQUEST_INVALID", Some("max_messages")),
        (PullRequest { max_wait: seconds(-1), ..pull() }, invalid, "REQUEST_INVALID", Some("max_wait")),
        (PullRequest { ack_mode: 7, ..pull() }, invalid, "REQUEST_INVALID", Some("ack_mode")),
        (PullRequest { subscription: String::new(), ..pull() }, invalid, "SUBSCRIPTION_INVALID", Some("subscription")),
        (PullRequest { subscription: "none".into(), ..pull() }, Code::NotFound, "SUBSCRIPTION_NOT_FOUND", None),
        (PullRequest { namespace: "none".into(), ..pull() }, Code::NotFound, "NAMESPACE_NOT_FOUND", None),
    ] {
        assert_refused(&edge.broker().pull(request).await.unwrap_err(), code, reason, field);
    }
    // A wait that is longer than any is cut to the call's own.
    let mut request = tonic::Request::new(PullRequest { max_wait: seconds(315_576_000_000), ..pull() });
    request.set_timeout(Duration::from_millis(500));
    assert!(edge.broker().pull(request).await.unwrap().into_inner().deliveries.is_empty());
    edge.works().await;
}

#[tokio::test]
async fn windows_of_any_size_are_taken_and_bounded() {
    let edge = Edge::with_work().await;
    let flow = |messages, bytes| FlowControl { max_outstanding_messages: messages, max_outstanding_bytes: bytes };
    let bounds = (Some(100_000), Some(256 << 20));
    for (asked, granted) in [
        (flow(None, None), (Some(100), Some(4 << 20))),
        (flow(Some(0), Some(0)), (Some(0), Some(0))),
        (flow(Some(u32::MAX), Some(u64::MAX)), bounds),
    ] {
        let attach = Attach { flow_control: Some(asked), ack_mode: AckMode::Auto.into(), ..attach() };
        let first = ConsumeRequest { attach: Some(attach), ..Default::default() };
        let (_send, mut stream) = edge.consume(first).await.unwrap();
        let attached = heard(&mut stream).await.unwrap().attached.unwrap();
        let told = attached.flow_control.unwrap();
        assert_eq!((told.max_outstanding_messages, told.max_outstanding_bytes), granted);
    }
    // One of zero pauses, and can be opened later, as far as anybody likes.
    let attach = Attach { flow_control: Some(flow(Some(0), None)), ack_mode: AckMode::Auto.into(), ..attach() };
    let (send, mut stream) = edge.consume(ConsumeRequest { attach: Some(attach), ..Default::default() }).await.unwrap();
    assert!(heard(&mut stream).await.unwrap().attached.is_some());
    edge.publish("a", "x").await;
    let wide = ConsumeRequest { flow_control: Some(flow(Some(u32::MAX), Some(u64::MAX))), ..Default::default() };
    send.send(wide).await.unwrap();
    assert_eq!(heard(&mut stream).await.unwrap().deliveries.len(), 1);
    drop((send, stream));
    edge.works().await;
}

#[tokio::test]
async fn a_subscription_that_asks_for_what_cannot_be_is_refused() {
    let edge = Edge::with_work().await;
    let good = || Subscription { name: "new".into(), topics: vec!["a".into()], ..Default::default() };
    for (subscription, field) in [
        (Subscription { ack_deadline: seconds(12 * 3_600 + 1), ..good() }, "subscription.ack_deadline"),
        (Subscription { ack_deadline: seconds(-1), ..good() }, "subscription.ack_deadline"),
        (Subscription { max_outstanding_messages: Some(0), ..good() }, "subscription.max_outstanding_messages"),
        (Subscription { max_outstanding_messages: Some(100_001), ..good() }, "subscription.max_outstanding_messages"),
        (Subscription { max_messages_per_second: Some(f64::NAN), ..good() }, "subscription.max_messages_per_second"),
    ] {
        let request = CreateSubscriptionRequest { subscription: Some(subscription) };
        let refused = SubscriptionsClient::new(edge.channel.clone()).create_subscription(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused:?}");
        let violations = tonic_types::StatusExt::get_error_details(&refused).bad_request().unwrap().clone();
        assert_eq!(violations.field_violations[0].field, field);
    }
    edge.works().await;
}

#[tokio::test]
async fn an_explanation_waits_for_an_attempt_and_no_longer_than_its_caller() {
    let edge = Edge::with_work().await;
    let subscriptions = || SubscriptionsClient::new(edge.channel.clone());
    let sequence = edge.publish("a", "x").await.sequence;
    let explain = move |max_wait| ExplainDeliveryRequest {
        name: "work".into(),
        sequence,
        max_wait: seconds(max_wait),
        ..Default::default()
    };
    let refused = subscriptions().explain_delivery(explain(-1)).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, "REQUEST_INVALID", Some("max_wait"));
    // A wait that is longer than any is cut to the call's own.
    let mut request = tonic::Request::new(explain(315_576_000_000));
    request.set_timeout(Duration::from_millis(500));
    let told = subscriptions().explain_delivery(request).await.unwrap().into_inner();
    assert_eq!(told.standing(), Standing::Waiting);
    let mut asking = subscriptions();
    let asking = tokio::spawn(async move { asking.explain_delivery(explain(20)).await });
    let ack_id = edge.pulled("work").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!asking.is_finished(), "being handed out is not the end of an attempt");
    edge.broker().acknowledge(settling(settlement(&[&ack_id], Verdict::Nack))).await.unwrap();
    let told = timeout(PATIENCE, asking).await.expect("nobody woke it").unwrap().unwrap().into_inner();
    assert_eq!((told.standing(), told.attempts), (Standing::BackingOff, 1));
}

#[tokio::test]
async fn a_pull_takes_what_backs_off_and_waits_for_what_consumers_have() {
    let edge = Edge::with_work().await;
    for text in ["1", "2"] {
        edge.publish("a", text).await;
    }
    let (send, mut stream) =
        edge.consume(ConsumeRequest { attach: Some(attach()), ..Default::default() }).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(heard(&mut stream).await.unwrap().deliveries);
    }
    let settle = async |at: usize, settlement: Settlement| {
        let settlement = Settlement { ack_ids: vec![held[at].ack_id.clone()], ..settlement };
        send.send(ConsumeRequest { settlements: vec![settlement], ..Default::default() }).await.unwrap();
    };
    let nack = || Settlement { verdict: Verdict::Nack.into(), delay: seconds(3_600), ..Default::default() };
    let early = |max_wait| PullRequest { include_backing_off: true, max_wait: seconds(max_wait), ..pull() };
    assert!(edge.broker().pull(early(0)).await.unwrap().into_inner().deliveries.is_empty());
    let mut broker = edge.broker();
    let pulling = tokio::spawn(async move { broker.pull(early(20)).await });
    settle(0, settlement(&[], Verdict::Ack)).await;
    settle(1, nack()).await;
    let pulled = timeout(PATIENCE, pulling).await.expect("nobody woke it").unwrap().unwrap().into_inner().deliveries;
    let [one] = &pulled[..] else { panic!("{pulled:?}") };
    assert_eq!((one.message.as_ref().unwrap().sequence, one.attempt), (2, 2));
    edge.broker().acknowledge(settling(settlement(&[&one.ack_id], Verdict::Ack))).await.unwrap();
    edge.publish("a", "3").await;
    assert_eq!(heard(&mut stream).await.unwrap().deliveries.len(), 1);
}

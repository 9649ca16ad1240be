//! Namespaces that move in: what comes in another way than it went out is refused, and nobody is left in doubt.

use tilde::pb::v1::{
    AcknowledgeRequest, CreateSubscriptionRequest, ExportRequest, ImportRequest, ImportResponse,
    ListSubscriptionsRequest, Message, MovedMessages, MovedSchema, MovedSchemas, MovedSubject, MovedSubscription,
    MovedVersion, Namespace, OpenMessages, PullRequest, Schema, Settlement, Subscription, TransferEnd, Verdict,
    piece::Piece, subscriptions_client::SubscriptionsClient, transfer_client::TransferClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// An import whose pieces are sent one by one.
struct Importing {
    pieces: mpsc::Sender<ImportRequest>,
    answers: Streaming<ImportResponse>,
}

impl Importing {
    async fn begin(edge: &Edge) -> Self {
        let (pieces, requests) = mpsc::channel(1);
        let mut client = TransferClient::new(edge.channel.clone());
        let answers = client.import(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Importing { pieces, answers }
    }

    async fn send(&mut self, piece: Piece) -> Result<ImportResponse, tonic::Status> {
        let piece = Some(pb::Piece { piece: Some(piece), crc32c: 0 });
        self.pieces.send(ImportRequest { piece, namespace: String::new() }).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> Result<ImportResponse, tonic::Status> {
        timeout(PATIENCE, self.answers.message()).await.unwrap().map(Option::unwrap_or_default)
    }
}

fn home() -> Piece {
    Piece::Namespace(Namespace { name: "default".into(), ..Default::default() })
}

fn moved(sequences: &[u64], topic: &str) -> MovedMessages {
    let message = |&sequence: &u64| Message { topic: topic.into(), sequence, ..Default::default() };
    MovedMessages { messages: sequences.iter().map(message).collect() }
}

fn messages(sequences: &[u64]) -> Piece {
    Piece::Messages(moved(sequences, "t"))
}

fn subscription(open: &[(u64, u64)]) -> Piece {
    let open =
        open.iter().map(|&(first_sequence, messages)| OpenMessages { first_sequence, messages, ..Default::default() });
    let wanted = Subscription { name: "work".into(), topics: vec!["~".into()], ..Default::default() };
    Piece::Subscription(MovedSubscription {
        subscription: Some(wanted),
        position: 9,
        open: open.collect(),
        ..Default::default()
    })
}

/// Schemas of these ids, and a subject with these versions: each its number and the id.
fn schemas(ids: &[u32], versions: &[(u32, u32)]) -> Piece {
    let schema = |&id: &u32| MovedSchema {
        schema: Some(Schema { text: "\"int\"".into(), id, ..Default::default() }),
        digest: "0a".repeat(32),
    };
    let version = |&(version, id): &(u32, u32)| MovedVersion { version, id, deleted: false };
    let versions = versions.iter().map(version).collect();
    let subject = MovedSubject { subject: "s".into(), versions, rules: None };
    Piece::Schemas(MovedSchemas { schemas: ids.iter().map(schema).collect(), subjects: vec![subject] })
}

fn end(messages: u64) -> Piece {
    Piece::End(TransferEnd { messages, ..Default::default() })
}

#[tokio::test]
async fn whoever_publishes_while_a_namespace_moves_in_ends_that() {
    let edge = Edge::start().await;
    let mut import = Importing::begin(&edge).await;
    import.send(home()).await.unwrap();
    assert_eq!(import.send(messages(&[5, 6])).await.unwrap().messages, 2);
    // Another import has to wait.
    let mut other = Importing::begin(&edge).await;
    let refused = other.send(home()).await.unwrap_err();
    refusals::assert_refused(&refused, tonic::Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY", Some("namespace"));
    edge.publish("t", "of somebody else").await;
    let refused = import.send(messages(&[7])).await.unwrap_err();
    refusals::assert_refused(&refused, tonic::Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY", Some("namespace"));
    let told = refused.message();
    assert!(told.starts_with("somebody else publishes to namespace default"), "{told}");
    assert!(told.contains("2 messages, 0 scheduled ones, 0 subscriptions and 0 schemas were imported into"), "{told}");
    assert!(told.contains("import all of it again"), "{told}");
}

#[tokio::test]
async fn what_is_due_by_now_is_published_when_all_is_in() {
    let edge = Edge::start().await;
    let mut import = Importing::begin(&edge).await;
    import.send(home()).await.unwrap();
    let due = |sequence| {
        let mut due = moved(&[sequence], "$scheduled/t");
        due.messages[0].deliver_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        Piece::Scheduled(due)
    };
    import.send(due(7)).await.unwrap();
    // Time enough to publish it, which would be between what moves in.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(import.send(due(3)).await.unwrap().scheduled, 2);
    let announced = TransferEnd { scheduled: 2, ..Default::default() };
    assert!(import.send(Piece::End(announced)).await.unwrap().done);
    let start = Some(pb::StartPosition { position: Some(pb::start_position::Position::Sequence(1)) });
    let mut stream = edge.subscribe(SubscribeRequest { start, max_messages: 2, ..patterns(&["t"]) }).await;
    let mut came = 0;
    while let Some(response) = next(&mut stream).await.unwrap() {
        came += response.messages.len();
    }
    assert_eq!(came, 2);
}

#[tokio::test]
async fn what_breaks_off_makes_no_subscription() {
    let edge = Edge::start().await;
    let mut import = Importing::begin(&edge).await;
    import.send(home()).await.unwrap();
    import.send(messages(&[5, 6])).await.unwrap();
    let piece = Some(pb::Piece { piece: Some(subscription(&[(6, 1)])), crc32c: 0 });
    import.pieces.send(ImportRequest { piece, namespace: String::new() }).await.unwrap();
    drop(import.pieces);
    let refused = timeout(PATIENCE, import.answers.message()).await.unwrap().unwrap_err();
    assert!(refused.message().starts_with("the pieces end too early"), "{refused}");
    let mut subscriptions = SubscriptionsClient::new(edge.channel.clone());
    let list = subscriptions.list_subscriptions(ListSubscriptionsRequest::default());
    assert!(list.await.unwrap().into_inner().subscriptions.is_empty());
}

#[tokio::test]
async fn what_is_settled_after_an_export_began_comes_again_and_is_not_lost() {
    let edge = Edge::start().await;
    let mut subscriptions = SubscriptionsClient::new(edge.channel.clone());
    let wanted = Subscription { name: "work".into(), topics: vec!["t".into()], ..Default::default() };
    subscriptions.create_subscription(CreateSubscriptionRequest { subscription: Some(wanted) }).await.unwrap();
    for n in 0..3 {
        edge.publish("t", &n.to_string()).await;
    }
    let mut client = TransferClient::new(edge.channel.clone());
    let mut export = client.export(ExportRequest::default()).await.unwrap().into_inner();

    // One is done, one is given up: its dead letter comes too late to move.
    let pull = PullRequest { subscription: "work".into(), max_messages: 2, ..Default::default() };
    let held = edge.broker().pull(pull).await.unwrap().into_inner().deliveries;
    let settle = |at: usize, verdict: Verdict| Settlement {
        ack_ids: vec![held[at].ack_id.clone()],
        verdict: verdict.into(),
        ..Default::default()
    };
    let settlements = vec![settle(0, Verdict::Ack), settle(1, Verdict::Reject)];
    let settled = AcknowledgeRequest { subscription: "work".into(), settlements, ..Default::default() };
    assert!(edge.broker().acknowledge(settled).await.unwrap().into_inner().refused.is_empty());

    let mut pieces = Vec::new();
    while let Some(piece) = timeout(PATIENCE, export.message()).await.unwrap().unwrap() {
        pieces.push(ImportRequest { piece: piece.piece, namespace: "new".into() });
    }
    let mut answers = client.import(tokio_stream::iter(pieces)).await.unwrap().into_inner();
    let mut last = ImportResponse::default();
    while let Some(answer) = timeout(PATIENCE, answers.message()).await.unwrap().unwrap() {
        last = answer;
    }
    assert_eq!((last.done, last.messages, last.subscriptions), (true, 3, 1));
    let pull = PullRequest { subscription: "work".into(), namespace: "new".into(), ..Default::default() };
    assert_eq!(edge.broker().pull(pull).await.unwrap().into_inner().deliveries.len(), 3);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let mut broken = schemas(&[1], &[]);
    if let Piece::Schemas(moved) = &mut broken {
        moved.schemas[0].digest.truncate(10);
    }
    let cases: [(&[Piece], &str); 18] = [
        (&[messages(&[1])], "the pieces are not in order"),
        (&[home(), home()], "the pieces are not in order"),
        (&[home(), Piece::Scheduled(moved(&[], "t")), messages(&[1])], "the pieces are not in order"),
        (&[home(), messages(&[1]), schemas(&[], &[])], "the pieces are not in order"),
        (&[home(), schemas(&[2], &[])], "schema 2 does not belong behind schema 0"),
        (&[home(), schemas(&[1], &[]), schemas(&[1], &[])], "schema 1 does not belong behind schema 1"),
        (&[home(), schemas(&[1], &[(1, 1), (2, 2)])], "subject \"s\" names schema 2, which did not come"),
        (&[home(), schemas(&[1], &[(1, 1), (1, 1)])], "the versions of subject \"s\" do not rise"),
        (&[home(), broken], "the digest of schema 1 is none"),
        (&[home(), messages(&[5, 5])], "message 5 does not belong behind message 5"),
        (&[home(), messages(&[5]), messages(&[4])], "message 4 does not belong behind message 5"),
        (&[home(), Piece::Messages(moved(&[5], "$scheduled"))], "message 5 does not belong"),
        (&[home(), Piece::Messages(moved(&[5], "a~"))], "a topic holds no `~`"),
        (&[home(), Piece::Scheduled(moved(&[5], "$scheduled/t"))], "message 5 is not scheduled"),
        (
            &[home(), messages(&[5]), end(2)],
            "2 messages, 0 scheduled ones, 0 subscriptions, 0 schemas and 0 subjects were announced, and 1, 0",
        ),
        (&[home(), subscription(&[(5, 1), (5, 1)])], "what subscription work has settled makes no sense"),
        (&[home(), subscription(&[(5, 100_001)])], "what subscription work has settled makes no sense"),
        (&[home(), subscription(&[(1, u64::MAX)])], "what subscription work has settled makes no sense"),
    ];
    for (pieces, told) in cases {
        let edge = Edge::start().await;
        let mut import = Importing::begin(&edge).await;
        let (last, good) = pieces.split_last().unwrap();
        for piece in good {
            import.send(piece.clone()).await.unwrap();
        }
        let refused = import.send(last.clone()).await.unwrap_err();
        assert!(refused.message().starts_with(told), "{refused}");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn a_draining_broker_ends_both() {
    let edge = Edge::start().await;
    for n in 0..3 {
        edge.publish("t", &n.to_string()).await;
    }
    let mut import = Importing::begin(&edge).await;
    let namespace = Namespace { name: "new".into(), ..Default::default() };
    assert!(import.send(Piece::Namespace(namespace)).await.unwrap().created);
    import.send(messages(&[5])).await.unwrap();
    let mut client = TransferClient::new(edge.channel.clone());
    let export = client.export(ExportRequest::default()).await.unwrap().into_inner();
    edge.shutdown.request(None);
    let refused = import.answer().await.unwrap_err();
    refusals::assert_refused(&refused, tonic::Code::Unavailable, "DRAINING", None);
    assert!(refused.message().contains("`tilde namespace delete new`"), "{refused}");
    drop(export);
    timeout(PATIENCE, edge.serving).await.unwrap().unwrap();
}

//! Every refusal is a real status with a stable reason, and names the field at fault.

use tilde::pb::v1::{StartPosition, start_position::Position};
use tonic::{Code, Status, client::Grpc};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use super::*;

pub fn assert_refused(status: &Status, code: Code, reason: &str, field: Option<&str>) {
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("tilde", reason), "{status:?}");
    if let Some(field) = field {
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
    }
}

#[tokio::test]
async fn of_a_publish() {
    let edge = Edge::start().await;
    let good = text_message("a", "x");
    let cases = [
        (PublishRequest { topic: "a~".into(), ..good.clone() }, Code::InvalidArgument, "TOPIC_INVALID", Some("topic")),
        (PublishRequest { topic: "$x".into(), ..good.clone() }, Code::InvalidArgument, "TOPIC_INVALID", Some("topic")),
        (text_message(&"t".repeat(1_025), "x"), Code::InvalidArgument, "TOPIC_INVALID", Some("topic")),
        (text_message("a", &"x".repeat(1 << 20)), Code::InvalidArgument, "MESSAGE_TOO_LARGE", None),
        (text_message("a", &"x".repeat(5 << 20)), Code::InvalidArgument, "MESSAGE_TOO_LARGE", None),
        (PublishRequest { namespace: "nobody".into(), ..good.clone() }, Code::NotFound, "NAMESPACE_NOT_FOUND", None),
        (PublishRequest { durability: 4, ..good.clone() }, Code::FailedPrecondition, "DURABILITY_UNAVAILABLE", None),
        (
            PublishRequest { durability: 9, ..good.clone() },
            Code::InvalidArgument,
            "REQUEST_INVALID",
            Some("durability"),
        ),
        (PublishRequest { expected_last_sequence: Some(99), ..good }, Code::Aborted, "SEQUENCE_CONFLICT", None),
    ];
    for (request, code, reason, field) in cases {
        let refused = edge.broker().publish(request).await.unwrap_err();
        assert_refused(&refused, code, reason, field);
    }
    // And nobody else was hurt.
    edge.publish("a", "x").await;
}

#[tokio::test]
async fn of_a_subscribe() {
    let edge = Edge::start().await;
    let start = |position| Some(StartPosition { position: Some(position) });
    let cases = [
        (patterns(&[]), Code::InvalidArgument, "PATTERN_INVALID", Some("topics")),
        (patterns(&["a\nb"]), Code::InvalidArgument, "PATTERN_INVALID", Some("topics")),
        (
            SubscribeRequest { start: start(Position::AfterCursor("nonsense".into())), ..patterns(&["~"]) },
            Code::InvalidArgument,
            "CURSOR_INVALID",
            Some("start.after_cursor"),
        ),
        (
            SubscribeRequest { namespace: "nobody".into(), ..patterns(&["~"]) },
            Code::NotFound,
            "NAMESPACE_NOT_FOUND",
            None,
        ),
        (
            SubscribeRequest { filter: "attributes.x == 1".into(), ..patterns(&["~"]) },
            Code::InvalidArgument,
            "FILTER_INVALID",
            Some("filter"),
        ),
        (
            SubscribeRequest { filter: "x".repeat(5_000), ..patterns(&["~"]) },
            Code::InvalidArgument,
            "FILTER_INVALID",
            Some("filter"),
        ),
        (
            SubscribeRequest { start: start(Position::LastMessages(0)), ..patterns(&["~"]) },
            Code::InvalidArgument,
            "REQUEST_INVALID",
            Some("start.last_messages"),
        ),
        (
            SubscribeRequest { lag_policy: 44, ..patterns(&["~"]) },
            Code::InvalidArgument,
            "REQUEST_INVALID",
            Some("lag_policy"),
        ),
    ];
    for (request, code, reason, field) in cases {
        let refused = edge.broker().subscribe(request).await.unwrap_err();
        assert_refused(&refused, code, reason, field);
    }
}

#[tokio::test]
async fn of_bytes_that_are_no_request() {
    // A request whose `topic` (field 1) is no UTF-8, told as bytes so that a client can send it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Bytes {
        #[prost(bytes = "vec", tag = "1")]
        topic: Vec<u8>,
    }
    let edge = Edge::start().await;
    let bad = Bytes { topic: vec![0xc3, 0x28] };
    for path in ["/tilde.v1.Broker/Publish", "/tilde.v1.Broker/Subscribe"] {
        let mut client = Grpc::new(edge.channel.clone());
        client.ready().await.unwrap();
        let codec = ProstCodec::<Bytes, pb::PublishResponse>::default();
        let refused = client.unary(tonic::Request::new(bad.clone()), path.parse().unwrap(), codec).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, "REQUEST_INVALID", None);
    }
}

#[tokio::test]
async fn of_what_there_is_not() {
    let edge = Edge::start().await;
    for path in ["/tilde.v1.Broker/Nothing", "/no.such.Service/Call"] {
        let mut client = Grpc::new(edge.channel.clone());
        client.ready().await.unwrap();
        let codec = ProstCodec::<PublishRequest, pb::PublishResponse>::default();
        let request = tonic::Request::new(text_message("a", "x"));
        let refused = client.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
    }
}

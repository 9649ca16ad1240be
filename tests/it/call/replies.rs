//! Who answers, how often, and what of.

use tilde::{
    client::Start,
    pb::v1::{Message, broker_client::BrokerClient},
};

use super::*;

#[tokio::test]
async fn a_request_and_its_reply_arrive_whole() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "a/~").await;
    let request = PublishRequest {
        attributes: [("k".to_owned(), "v".to_owned())].into(),
        content_type: "text/plain".into(),
        ordering_key: "o".into(),
        ..PublishRequest::text("a/b", "question")
    };
    let asking = tokio::spawn(client.call(request).into_future());
    let question = next(&mut responder).await;
    let Message { topic, attributes, content_type, ordering_key, reply_to, correlation_id, .. } = &question.message;
    assert_eq!((topic.as_str(), text(&question), ordering_key.as_str()), ("a/b", "question", "o"));
    assert_eq!((attributes["k"].as_str(), content_type.as_str()), ("v", "text/plain"));
    assert!(reply_to.starts_with("$reply/") && !correlation_id.is_empty());
    let reply = PublishRequest {
        attributes: [("n".to_owned(), "1".to_owned())].into(),
        ..PublishRequest::data("", vec![0, 255])
    };
    question.reply(reply).await.unwrap();
    let replies = asking.await.unwrap().unwrap();
    let [reply] = &replies.messages[..] else { panic!("{replies:?}") };
    assert_eq!((reply.bytes(), reply.attributes["n"].as_str()), (&[0, 255][..], "1"));
    assert!(!replies.collapsed);
    // Those who listen to everything see the question, and not the answer.
    let mut all = client.subscribe(["~"]).from(Start::Earliest).stop_at_end(true).start();
    let mut topics = Vec::new();
    while let Some(event) = all.next().await {
        if let tilde::client::Event::Messages { messages, .. } = event.unwrap() {
            topics.extend(messages.into_iter().map(|message| message.topic));
        }
    }
    assert_eq!(topics, ["a/b"]);
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_a_logger_is_nobody() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut logger = client.subscribe(["~"]).start();
    soon("the logger", logger.next()).await.unwrap().unwrap();
    // An hour is not waited for.
    let asked = call(&client, "a", "x").timeout(Duration::from_secs(3600));
    assert_refused(soon("a refusal", asked.into_future()).await, Code::Unavailable, "NO_RESPONDERS");
    let here = responder(&client, "a").await;
    assert_refused(call(&client, "b", "x").await, Code::Unavailable, "NO_RESPONDERS");
    assert_refused(call(&client, "a", "x").timeout(SHORT).await, Code::DeadlineExceeded, "NO_REPLY");
    drop(here);
    deserted(&client, "a").await;
}

#[tokio::test]
async fn so_many_replies_come_as_are_wanted_or_as_there_are_in_time() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    for answer in [|_: &str| "1".to_owned(), |_: &str| "2".to_owned(), |_: &str| "3".to_owned()] {
        answering(&client, "all", answer).await;
    }
    let mut two = texts(&call(&client, "all", "").max_replies(2).await.unwrap());
    two.dedup();
    assert_eq!(two.len(), 2);
    let mut three = texts(&call(&client, "all", "").max_replies(9).timeout(SHORT).await.unwrap());
    three.sort_unstable();
    assert_eq!(three, ["1", "2", "3"]);
    waiting(&broker, 0).await;
}

#[tokio::test]
async fn a_call_ends_with_its_caller() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "a").await;
    let asking = tokio::spawn(call(&client, "a", "x").into_future());
    let question = next(&mut responder).await;
    asking.abort();
    waiting(&broker, 0).await;
    let late = question.reply_text("late").await.unwrap_err();
    assert_eq!((late.code, late.reason.as_deref()), (Code::FailedPrecondition, Some("CALL_ENDED")));
    // One reply is all that is wanted.
    let asking = tokio::spawn(call(&client, "a", "y").into_future());
    let question = next(&mut responder).await;
    question.reply_text("first").await.unwrap();
    assert_eq!(texts(&asking.await.unwrap().unwrap()), ["first"]);
    assert_eq!(question.reply_text("second").await.unwrap_err().reason.as_deref(), Some("CALL_ENDED"));
}

#[tokio::test]
async fn what_belongs_to_the_broker_is_refused() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut stub = BrokerClient::connect(broker.url.clone()).await.unwrap();
    let request = || PublishRequest::text("a", "x");
    let cases = [
        (CallRequest::default(), "request.topic"),
        (asks(PublishRequest { reply_to: "b".into(), ..request() }), "request.reply_to"),
        (asks(PublishRequest { correlation_id: "b".into(), ..request() }), "request.correlation_id"),
        (asks(PublishRequest { message_id: "b".into(), ..request() }), "request.message_id"),
        (asks(PublishRequest { deliver_time: Some(Default::default()), ..request() }), "request.deliver_time"),
        (CallRequest { max_replies: 101, ..asks(request()) }, "max_replies"),
        (CallRequest { collapse_key: "k".repeat(256), ..asks(request()) }, "collapse_key"),
        (
            CallRequest { timeout: Some(prost_types::Duration { seconds: 3601, nanos: 0 }), ..asks(request()) },
            "timeout",
        ),
        (CallRequest { timeout: Some(Default::default()), ..asks(request()) }, "timeout"),
    ];
    for (request, field) in cases {
        let fault = Fault::from(stub.call(request.clone()).await.unwrap_err());
        assert_eq!((fault.code, fault.field.as_deref()), (Code::InvalidArgument, Some(field)), "{request:?}: {fault}");
    }
    let publisher = client.publisher();
    for (topic, correlation, reason) in [
        ("$reply/", "0123456789abcdef", "TOPIC_INVALID"),
        ("$other/0123456789abcdef", "0123456789abcdef", "TOPIC_INVALID"),
        ("$reply/0123456789abcdef", "", "MESSAGE_INVALID"),
        ("$reply/0123456789abcdef", "no number", "MESSAGE_INVALID"),
    ] {
        let request = PublishRequest { correlation_id: correlation.into(), ..PublishRequest::text(topic, "x") };
        let fault = publisher.publish(request).await.unwrap_err();
        assert_eq!(fault.reason.as_deref(), Some(reason), "{topic} {correlation:?}");
    }
}

fn asks(request: PublishRequest) -> CallRequest {
    CallRequest { request: Some(request), ..CallRequest::default() }
}

#[tokio::test]
async fn thousands_at_once_each_get_their_own() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let answers = answering(&client, "double", |text| format!("{text}{text}")).await;
    let asked: Vec<_> =
        (0..2_000).map(|number| tokio::spawn(call(&client, "double", &number.to_string()).into_future())).collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let replies = soon("a reply", asked).await.unwrap().unwrap();
        assert_eq!(texts(&replies), [format!("{number}{number}")]);
    }
    answers.abort();
}

//! Calls and a broker that stops.

use rustix::process::Signal;
use tilde::pb::v1::{CallRequest, broker_client::BrokerClient};

use super::*;

#[tokio::test]
async fn who_waits_when_the_broker_stops_still_gets_his_reply() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "a").await;
    let mut stub = BrokerClient::connect(broker.url.clone()).await.unwrap();
    let asking = tokio::spawn(call(&client, "a", "x").into_future());
    let question = next(&mut responder).await;
    broker.signal(Signal::TERM);
    soon("it takes no more", async { while stub.publish(PublishRequest::text("b", "y")).await.is_ok() {} }).await;
    let refused = stub.call(CallRequest { request: Some(PublishRequest::text("a", "y")), ..CallRequest::default() });
    assert_eq!(refused.await.unwrap_err().code(), Code::Unavailable);
    let reply = PublishRequest {
        correlation_id: question.message.correlation_id.clone(),
        ..PublishRequest::text(question.message.reply_to.clone(), "in time")
    };
    stub.publish(reply).await.unwrap();
    assert_eq!(texts(&soon("a reply", asking).await.unwrap().unwrap()), ["in time"]);
    assert!(broker.wait().status.success());
}

#[tokio::test]
async fn who_gets_none_is_told_when_the_grace_time_is_over() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "a").await;
    let asking = tokio::spawn(call(&client, "a", "x").into_future());
    next(&mut responder).await;
    broker.signal(Signal::TERM);
    assert_refused(soon("a refusal", asking).await.unwrap(), Code::DeadlineExceeded, "NO_REPLY");
    assert!(broker.wait().status.success());
}

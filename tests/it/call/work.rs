//! Calls that a durable subscription answers.

use tilde::pb::v1::{Attach, ConsumeRequest, ConsumeResponse, broker_client::BrokerClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::*;

/// A consumer that says whether it answers calls.
struct Consumer {
    says: mpsc::Sender<ConsumeRequest>,
    hears: Streaming<ConsumeResponse>,
}

async fn attach(stub: &mut BrokerClient<Channel>, responder: bool) -> Consumer {
    let (says, said) = mpsc::channel(10);
    let attach = Attach { subscription: "work".into(), responder, ..Attach::default() };
    says.send(ConsumeRequest { attach: Some(attach), ..ConsumeRequest::default() }).await.unwrap();
    let mut hears = stub.consume(ReceiverStream::new(said)).await.unwrap().into_inner();
    let first = soon("the beginning", hears.message()).await.unwrap().unwrap();
    assert!(first.attached.is_some());
    Consumer { says, hears }
}

#[tokio::test]
async fn a_consumer_that_says_so_answers_until_it_detaches() {
    let broker = Tilde::start(&[]);
    broker.run(&["subscription", "create", "work", "jobs/~"]).ok();
    let client = client(&broker).await;
    let mut stub = BrokerClient::connect(broker.url.clone()).await.unwrap();
    let silent = attach(&mut stub, false).await;
    assert_refused(call(&client, "jobs/1", "x").await, Code::Unavailable, "NO_RESPONDERS");
    drop(silent);
    let mut consumer = attach(&mut stub, true).await;
    assert_refused(call(&client, "other", "x").await, Code::Unavailable, "NO_RESPONDERS");
    let asking = tokio::spawn(call(&client, "jobs/1", "x").into_future());
    let delivery = loop {
        let response = soon("a delivery", consumer.hears.message()).await.unwrap().unwrap();
        if let Some(delivery) = response.deliveries.into_iter().next() {
            break delivery.message.unwrap();
        }
    };
    let reply =
        PublishRequest { correlation_id: delivery.correlation_id, ..PublishRequest::text(delivery.reply_to, "done") };
    client.publisher().publish(reply).await.unwrap();
    assert_eq!(texts(&asking.await.unwrap().unwrap()), ["done"]);
    // What it asks for changes, and so does what it answers.
    broker.run(&["subscription", "update", "work", "tasks/~"]).ok();
    assert_refused(call(&client, "jobs/1", "x").await, Code::Unavailable, "NO_RESPONDERS");
    assert_refused(call(&client, "tasks/1", "x").timeout(SHORT).await, Code::DeadlineExceeded, "NO_REPLY");
    consumer.says.send(ConsumeRequest { detach: true, ..ConsumeRequest::default() }).await.unwrap();
    deserted(&client, "tasks/1").await;
}

#[tokio::test]
async fn a_request_whose_caller_has_given_up_is_not_delivered() {
    let broker = Tilde::start(&[]);
    broker.run(&["subscription", "create", "work", "jobs/~"]).ok();
    let client = client(&broker).await;
    let answers = responder(&client, "jobs/~").await;
    assert_refused(call(&client, "jobs/1", "late").timeout(SHORT).await, Code::DeadlineExceeded, "NO_REPLY");
    client.publisher().publish(PublishRequest::text("jobs/1", "work")).await.unwrap();
    let pulled = broker.run(&["subscription", "pull", "work", "--format", "raw"]).text();
    assert_eq!(pulled, "work\n");
    drop(answers);
}

//! The edge from outside: one port, whoever speaks to it and however badly. Over the memory engine.

mod abuse;
mod calls;
mod catalog;
mod drain;
mod operators;
mod publish_stream;
mod refusals;
mod transfer;
mod work;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tilde::{
    broker::{self, Broker},
    clock::SystemClock,
    engine::memory::MemoryEngine,
    pb::v1::{
        self as pb, PublishRequest, SubscribeRequest, SubscribeResponse, broker_client::BrokerClient,
        publish_request::Payload,
    },
    server::{self, Config, Ended},
    shutdown::Shutdown,
    telemetry::Metrics,
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Streaming, transport::Channel};

/// Longer than anything takes: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a port of its own.
struct Edge {
    addr: SocketAddr,
    channel: Channel,
    shutdown: Shutdown,
    serving: JoinHandle<Ended>,
}

impl Edge {
    async fn start() -> Edge {
        Edge::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Edge {
        let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        change(&mut config);
        let clock = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::default());
        let engine = Arc::new(MemoryEngine::new(clock.clone()));
        let sizes = broker::Config::default();
        let broker = Broker::open(engine, clock, Arc::clone(&metrics), sizes).await.unwrap();
        let bound = server::bind(config).await.unwrap();
        let addr = bound.local_addr();
        let shutdown = Shutdown::default();
        let asked = shutdown.clone();
        let serving = tokio::spawn(async move { bound.serve(broker, metrics, asked.requested()).await });
        let channel = Channel::from_shared(format!("http://{addr}")).unwrap().connect_lazy();
        Edge { addr, channel, shutdown, serving }
    }

    fn broker(&self) -> BrokerClient<Channel> {
        BrokerClient::new(self.channel.clone())
    }

    async fn publish(&self, topic: &str, text: &str) -> pb::PublishResponse {
        self.broker().publish(text_message(topic, text)).await.unwrap().into_inner()
    }

    /// A stream that has said that it started.
    async fn subscribe(&self, request: SubscribeRequest) -> Streaming<SubscribeResponse> {
        let mut stream = self.broker().subscribe(request).await.unwrap().into_inner();
        assert!(next(&mut stream).await.unwrap().unwrap().started.is_some());
        stream
    }

    /// Asks it to stop and tells how it went.
    async fn stop(self) -> Ended {
        self.shutdown.request(None);
        timeout(PATIENCE, self.serving).await.unwrap().unwrap()
    }
}

fn text_message(topic: &str, text: &str) -> PublishRequest {
    PublishRequest { topic: topic.into(), payload: Some(Payload::Text(text.into())), ..Default::default() }
}

fn patterns(topics: &[&str]) -> SubscribeRequest {
    SubscribeRequest { topics: topics.iter().map(|topic| topic.to_string()).collect(), ..Default::default() }
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<Option<SubscribeResponse>, tonic::Status> {
    timeout(PATIENCE, stream.message()).await.expect("the stream is silent")
}

/// The next message that the stream delivers.
async fn next_text(stream: &mut Streaming<SubscribeResponse>) -> String {
    loop {
        let response = next(stream).await.unwrap().expect("the stream ended");
        if let [message] = &response.messages[..] {
            let Some(pb::message::Payload::Text(text)) = &message.payload else { panic!("no text: {message:?}") };
            return text.clone();
        }
    }
}

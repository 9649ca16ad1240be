//! A client of a broker that runs as a process: every call waits a while and no longer.

use tilde::{
    client::{self, ANSWER_BYTES, Channel, Fault},
    pb::v1::{
        BatchPublishRequest, CreateNamespaceRequest, DeleteNamespaceRequest, Gap, Message, Namespace, PublishError,
        PublishRequest, PublishResponse, StartPosition, SubscribeRequest, SubscribeResponse,
        broker_client::BrokerClient,
        message,
        namespaces_client::NamespacesClient,
        publish_request, publish_result,
        start_position::{Position, Preset},
        topics_client::TopicsClient,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Status, Streaming};

use super::PATIENCE;
use crate::support::Tilde;

/// One connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    address: String,
}

/// What a stream told until it ended.
#[derive(Debug, Default)]
pub struct Read {
    pub messages: Vec<Message>,
    pub gaps: Vec<Gap>,
    pub cursor: String,
    /// Why it ended, if not because all was read.
    pub failure: Option<Status>,
}

impl Client {
    pub async fn of(broker: &Tilde) -> Client {
        let channel = client::connect(&broker.url).await.unwrap();
        Client { channel, address: broker.url.strip_prefix("http://").unwrap().to_owned() }
    }

    pub async fn publish(&self, request: PublishRequest) -> Result<PublishResponse, Status> {
        let mut broker = BrokerClient::new(self.channel.clone());
        let answer = timeout(PATIENCE, broker.publish(request)).await;
        answer.expect("a publish hangs").map(|answer| answer.into_inner())
    }

    /// A result for each, or the refusal of the whole.
    pub async fn publish_batch(
        &self,
        requests: Vec<PublishRequest>,
        atomic: bool,
    ) -> Result<Vec<Result<PublishResponse, PublishError>>, Status> {
        let mut broker = BrokerClient::new(self.channel.clone());
        let answer = timeout(PATIENCE, broker.batch_publish(BatchPublishRequest { requests, atomic })).await;
        let results = answer.expect("a batch hangs")?.into_inner().results;
        let results = results.into_iter().map(|result| match result.result.expect("every result is one of two") {
            publish_result::Result::Published(published) => Ok(published),
            publish_result::Result::Error(error) => Err(error),
        });
        Ok(results.collect())
    }

    pub async fn subscribe(&self, request: SubscribeRequest) -> Result<Streaming<SubscribeResponse>, Status> {
        let mut broker = BrokerClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES);
        let answer = timeout(PATIENCE, broker.subscribe(request)).await;
        answer.expect("a stream does not begin").map(|stream| stream.into_inner())
    }

    /// All that is there of `default` from a position on.
    pub async fn read(&self, from: Position) -> Read {
        self.read_with(SubscribeRequest { start: start(from), ..everything() }).await
    }

    /// The same with other wishes.
    pub async fn read_with(&self, request: SubscribeRequest) -> Read {
        let mut read = Read::default();
        let mut stream = match self.subscribe(SubscribeRequest { stop_at_end: true, ..request }).await {
            Ok(stream) => stream,
            Err(status) => return Read { failure: Some(status), ..read },
        };
        loop {
            match next(&mut stream).await {
                Ok(Some(response)) => {
                    read.messages.extend(response.messages);
                    read.gaps.extend(response.gap);
                    read.cursor = response.cursor;
                }
                Ok(None) => return read,
                Err(status) => return Read { failure: Some(status), ..read },
            }
        }
    }

    pub async fn create_namespace(&self, namespace: Namespace) -> Result<Namespace, Status> {
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        let answer = timeout(PATIENCE, self.namespaces().create_namespace(request)).await;
        answer.expect("it hangs").map(|answer| answer.into_inner().namespace.unwrap())
    }

    pub async fn delete_namespace(&self, name: &str) {
        let request = DeleteNamespaceRequest { name: name.into() };
        timeout(PATIENCE, self.namespaces().delete_namespace(request)).await.unwrap().unwrap();
    }

    pub fn namespaces(&self) -> NamespacesClient<Channel> {
        NamespacesClient::new(self.channel.clone())
    }

    pub fn topics(&self) -> TopicsClient<Channel> {
        TopicsClient::new(self.channel.clone())
    }

    /// The status line of a page.
    pub async fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

pub async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<Option<SubscribeResponse>, Status> {
    timeout(PATIENCE, stream.message()).await.expect("the stream is silent")
}

/// Of every topic of `default`.
pub fn everything() -> SubscribeRequest {
    SubscribeRequest { topics: vec!["~".into()], ..Default::default() }
}

pub fn start(position: Position) -> Option<StartPosition> {
    Some(StartPosition { position: Some(position) })
}

pub fn earliest() -> Position {
    Position::Preset(Preset::Earliest as i32)
}

/// A message with a text, synced.
pub fn message(topic: &str, text: impl Into<String>) -> PublishRequest {
    let payload = Some(publish_request::Payload::Text(text.into()));
    PublishRequest { topic: topic.into(), payload, ..Default::default() }
}

pub fn text(message: &Message) -> &str {
    match &message.payload {
        Some(message::Payload::Text(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}

pub fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(text).collect()
}

/// Asserts that a call was refused like that.
#[track_caller]
pub fn ended_with(status: Option<Status>, code: Code, reason: &str) -> Fault {
    let fault = Fault::from(status.expect("it was refused"));
    assert_eq!((fault.code, fault.reason.as_deref()), (code, Some(reason)), "{fault}");
    fault
}

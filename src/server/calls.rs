//! Leads each gRPC call to its service. The broker's own calls come first: they are the hot path.

use std::{collections::HashMap, convert::Infallible, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::Instant;
use tonic::{
    Status,
    body::Body,
    codegen::{Service as _, StdError},
};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};
use tonic_reflection::server::Builder as Reflection;
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::{
    forward::Forward,
    grpc::{
        ConsumeService, NamespacesService, OperationsService, PublishService, PublishStreamService, SchemasService,
        SubscribeService, SubscriptionsService, TopicsService, TransferService, transfer::PIECE_BYTES,
    },
    meeting::meet,
    readiness::Readiness,
    webhook::Webhooks,
};
use crate::{
    broker::Broker,
    model::limits::REQUEST_BYTES,
    pb::{
        self,
        server::{
            broker_server::BrokerServer, namespaces_server::NamespacesServer, operations_server::OperationsServer,
            schemas_server::SchemasServer, subscriptions_server::SubscriptionsServer, topics_server::TopicsServer,
            transfer_server::TransferServer,
        },
    },
    shutdown::Shutdown,
};

/// The answer to a call, when it comes.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

type Other = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

const BROKER: &str = "tilde.v1.Broker";

/// What the calls lead to.
pub struct Parts<'a> {
    /// Decides everything.
    pub broker: Arc<Broker>,
    /// Sends on by HTTP.
    pub webhooks: Arc<Webhooks>,
    /// What health tells.
    pub readiness: &'a Readiness,
    /// What `Drain` asks.
    pub shutdown: Shutdown,
    /// As configured, for `GetServerInfo`.
    pub streams_per_connection: u32,
}

/// Leads each call to its service.
pub struct Calls {
    publish: BrokerServer<PublishService>,
    publish_stream: PublishStreamService,
    subscribe: SubscribeService,
    consume: ConsumeService,
    others: HashMap<&'static str, Other>,
    // None if there is no other broker.
    forward: Option<Forward>,
}

impl Calls {
    /// Puts the services together.
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { broker, webhooks, readiness, shutdown, streams_per_connection } = parts;
        let operations =
            OperationsService { broker: broker.clone(), shutdown, streams_per_connection, started: Instant::now() };
        let topics = TopicsServer::new(TopicsService(broker.clone()));
        let namespaces = NamespacesServer::new(NamespacesService(broker.clone()));
        let subscriptions = SubscriptionsServer::new(SubscriptionsService { broker: broker.clone(), webhooks });
        let schemas = SchemasServer::new(SchemasService(broker.clone()));
        let transfer = TransferServer::new(TransferService(broker.clone()));
        let operations = OperationsServer::new(operations);
        let health = HealthServer::new(HealthService::from_health_reporter(readiness.reporter()));
        let mut others = HashMap::from([
            other(topics.max_decoding_message_size(REQUEST_BYTES)),
            other(namespaces.max_decoding_message_size(REQUEST_BYTES)),
            other(subscriptions.max_decoding_message_size(REQUEST_BYTES)),
            other(schemas.max_decoding_message_size(REQUEST_BYTES)),
            other(transfer.max_decoding_message_size(PIECE_BYTES)),
            other(operations.max_decoding_message_size(REQUEST_BYTES)),
            other(health),
        ]);
        let broken = "the descriptors were made by the build";
        others.extend([other(reflection().build_v1().expect(broken))]);
        others.extend([other(reflection().build_v1alpha().expect(broken))]);
        Calls {
            forward: Forward::new(&broker),
            publish: BrokerServer::new(PublishService(broker.clone())).max_decoding_message_size(REQUEST_BYTES),
            publish_stream: PublishStreamService(broker.clone()),
            subscribe: SubscribeService(broker.clone()),
            consume: ConsumeService(broker),
            others,
        }
    }

    /// Whether a path is that of a call of a service that is there.
    pub fn has(&self, path: &str) -> bool {
        let (service, _) = split(path);
        service == BROKER || self.others.contains_key(service)
    }

    /// Answers a call.
    pub fn call<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let (service, method) = split(request.uri().path());
        let other = match service {
            BROKER => None,
            _ => match self.others.get(service) {
                Some(other) => Some(other),
                None => {
                    let message = "no such service: reflection lists those there are";
                    return ready(Status::unimplemented(message).into_http());
                }
            },
        };
        if let Some(forward) = self.forward.as_ref().filter(|forward| forward.takes(service, method)) {
            return forward.call(request);
        }
        match other {
            Some(other) => Box::pin(other.clone().oneshot(request.map(Body::new))),
            None if method == "PublishStream" => ready(self.publish_stream.call(request)),
            None if method == "Consume" => ready(self.consume.call(request)),
            None if method == "Subscribe" => {
                let subscribe = self.subscribe.clone();
                Box::pin(async move { Ok(subscribe.call(request).await) })
            }
            None if method == "Call" => self.answer_call(request),
            None => self.publish.clone().call(request),
        }
    }
}

impl Calls {
    /// Answers a `Call` here, unless it is to meet others.
    fn answer_call<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let mut publish = self.publish.clone();
        let is_elsewhere = |forward: &&Forward| forward.is_elsewhere() && !Forward::has_sent(request.headers());
        let Some(forward) = self.forward.as_ref().filter(is_elsewhere).cloned() else { return publish.call(request) };
        Box::pin(async move {
            match meet(&forward, request.map(Body::new)).await {
                Ok(answered) => Ok(answered),
                Err(request) => publish.call(request).await,
            }
        })
    }
}

/// An answer that is there already.
pub fn ready(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

/// The service and the method that a path names.
fn split(path: &str) -> (&str, &str) {
    path[1.min(path.len())..].split_once('/').unwrap_or((path, ""))
}

fn reflection<'a>() -> Reflection<'a> {
    Reflection::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(pb::health::FILE_DESCRIPTOR_SET)
        // So that tools which know a service by reflection alone can read the details of a status.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// A service that is not asked often, under its name.
fn other<S>(service: S) -> (&'static str, Other)
where
    S: tonic::codegen::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    (S::NAME, BoxCloneSyncService::new(service))
}

//! Which path leads where. The broker's own calls come first: they are the hot path.

use std::{collections::HashMap, convert::Infallible, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::service::Service;
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
        ConsumeService, NamespacesService, OperationsService, PublishService, PublishStreamService, SubscribeService,
        SubscriptionsService, TopicsService, TransferService, transfer::PIECE_BYTES,
    },
    http::{Pages, problem},
    webhook::Webhooks,
};
use crate::{
    broker::Broker,
    model::limits::REQUEST_BYTES,
    pb::{
        self,
        server::{
            broker_server::BrokerServer, namespaces_server::NamespacesServer, operations_server::OperationsServer,
            subscriptions_server::SubscriptionsServer, topics_server::TopicsServer, transfer_server::TransferServer,
        },
    },
    shutdown::Shutdown,
};

/// The answer to a call, when it comes.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

type Other = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// What the routes lead to.
pub struct Parts {
    /// Decides everything.
    pub broker: Arc<Broker>,
    /// Sends on by HTTP.
    pub webhooks: Arc<Webhooks>,
    /// What is told over plain HTTP, and whether the broker is ready.
    pub pages: Pages,
    /// What `Drain` asks.
    pub shutdown: Shutdown,
    /// As configured, for `GetServerInfo`.
    pub streams_per_connection: u32,
}

/// Leads each call to its service.
pub struct Routes {
    publish: BrokerServer<PublishService>,
    publish_stream: PublishStreamService,
    subscribe: SubscribeService,
    consume: ConsumeService,
    others: HashMap<&'static str, Other>,
    pages: Pages,
    // None if there is no other broker.
    forward: Option<Forward>,
}

impl Routes {
    /// Puts the routes together.
    pub fn new(parts: Parts) -> Self {
        let broker = parts.broker;
        let operations = OperationsService {
            broker: Arc::clone(&broker),
            shutdown: parts.shutdown,
            streams_per_connection: parts.streams_per_connection,
            started: Instant::now(),
        };
        let topics = TopicsServer::new(TopicsService(Arc::clone(&broker)));
        let namespaces = NamespacesServer::new(NamespacesService(Arc::clone(&broker)));
        let subscriptions =
            SubscriptionsServer::new(SubscriptionsService { broker: Arc::clone(&broker), webhooks: parts.webhooks });
        let transfer = TransferServer::new(TransferService(Arc::clone(&broker)));
        let operations = OperationsServer::new(operations);
        let health = HealthServer::new(HealthService::from_health_reporter(parts.pages.readiness.reporter()));
        let mut others = HashMap::from([
            other(topics.max_decoding_message_size(REQUEST_BYTES)),
            other(namespaces.max_decoding_message_size(REQUEST_BYTES)),
            other(subscriptions.max_decoding_message_size(REQUEST_BYTES)),
            other(transfer.max_decoding_message_size(PIECE_BYTES)),
            other(operations.max_decoding_message_size(REQUEST_BYTES)),
            other(health),
        ]);
        let broken = "the descriptors were made by the build";
        others.extend([other(reflection().build_v1().expect(broken))]);
        others.extend([other(reflection().build_v1alpha().expect(broken))]);
        Routes {
            forward: Forward::new(&broker),
            publish: BrokerServer::new(PublishService(Arc::clone(&broker))).max_decoding_message_size(REQUEST_BYTES),
            publish_stream: PublishStreamService(Arc::clone(&broker)),
            subscribe: SubscribeService(Arc::clone(&broker)),
            consume: ConsumeService(broker),
            others,
            pages: parts.pages,
        }
    }
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

impl<B> Service<Request<B>> for Routes
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<B>) -> Answer {
        let path = request.uri().path();
        let (service, method) = path[1.min(path.len())..].split_once('/').unwrap_or((path, ""));
        let is_broker = service == "tilde.v1.Broker";
        let other = if is_broker { None } else { self.others.get(service) };
        if !is_broker && other.is_none() {
            return match is_grpc(request.headers()) {
                true => ready(Status::unimplemented("no such service: reflection lists those there are").into_http()),
                false => ready(self.pages.answer(request.method(), path)),
            };
        }
        if let Some(refusal) = refuse_transport(&request) {
            return ready(refusal);
        }
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
            None => self.publish.clone().call(request),
        }
    }
}

/// An answer that is there already.
pub fn ready(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

/// Whether a call says that it is gRPC. (gRPC-Web, whose type begins alike, is another protocol.)
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What arrives at a gRPC service by other means gets an answer that its sender can read.
fn refuse_transport<B>(request: &Request<B>) -> Option<Response<Body>> {
    if request.version() != Version::HTTP_2 {
        let detail = "this path takes gRPC, which needs HTTP/2";
        return Some(problem(StatusCode::HTTP_VERSION_NOT_SUPPORTED, detail));
    }
    if !is_grpc(request.headers()) {
        let detail = "this path takes gRPC: POST with the content type application/grpc";
        return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_is_told_from_what_looks_like_it() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web+proto", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}

//! What operators and their machines ask for.

use tilde::pb::health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;

/// One request over HTTP/1.1, answered in full: head and body.
pub async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn the_pages() {
    let edge = Edge::start().await;
    edge.publish("a", "x").await;
    assert!(get(edge.addr, "/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(get(edge.addr, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let metrics = get(edge.addr, "/metrics").await;
    for name in ["tilde_connections_open", "tilde_connections_accepted_total", "process_resident_memory_bytes"] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} in {metrics}");
    }
    assert_eq!(metrics.matches("# EOF").count(), 1);
    for (path, status) in [("/nothing", "404"), ("/tilde.v1.Broker/Publish", "415")] {
        let answer = get(edge.addr, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("\"detail\""), "{answer}");
    }
}

#[tokio::test]
async fn health_is_told_and_watched() {
    let edge = Edge::start().await;
    let mut health = HealthClient::new(edge.channel.clone());
    for service in ["", "tilde.v1.Broker", "tilde.v1.Topics", "tilde.v1.Namespaces", "tilde.v1.Operations"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest { service: "tilde.v1.Broker".into() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let stopping = tokio::spawn(edge.stop());
    let told = timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    // The watch ends with the broker and does not hold it up.
    assert!(timeout(PATIENCE, watch.message()).await.unwrap().unwrap().is_none());
    assert_eq!(stopping.await.unwrap().cut, 0);
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let edge = Edge::start().await;
    let expected = ["grpc.health.v1.Health", "tilde.v1.Broker", "tilde.v1.Operations"];

    let request = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(edge.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");

    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "tilde.v1.Broker.Subscribe".into(),
        )),
        ..Default::default()
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(edge.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)));
}

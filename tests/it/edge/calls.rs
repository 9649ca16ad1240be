//! What goes well.

use tilde::pb::v1::{
    BatchPublishRequest, CreateNamespaceRequest, DeleteNamespaceRequest, GetNamespaceRequest, GetServerInfoRequest,
    GetTopicRequest, ListNamespacesRequest, ListTopicsRequest, Namespace, StartPosition, SubscribeRequest,
    SubscribeResponse, UpdateNamespaceRequest, namespaces_client::NamespacesClient,
    operations_client::OperationsClient, publish_result::Result as Published, start_position::Position,
    topics_client::TopicsClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::*;

#[tokio::test]
async fn what_is_published_is_received_and_can_be_read_again() {
    let edge = Edge::start().await;
    let mut live = edge.subscribe(patterns(&["orders/~"])).await;
    let first = edge.publish("orders/eu", "one").await;
    edge.publish("other", "not wanted").await;
    assert_eq!(next_text(&mut live).await, "one");
    let second = edge.publish("orders/us", "two").await;
    assert_eq!(next_text(&mut live).await, "two");
    assert!(second.sequence > first.sequence && second.publish_time.is_some());

    let start = StartPosition { position: Some(Position::AfterCursor(first.cursor)) };
    let mut again =
        edge.subscribe(SubscribeRequest { start: Some(start), stop_at_end: true, ..patterns(&["orders/~"]) }).await;
    assert_eq!(next_text(&mut again).await, "two");
    while let Some(response) = next(&mut again).await.unwrap() {
        assert!(response.messages.is_empty());
    }
    assert_eq!(edge.stop().await.cut, 0);
}

#[tokio::test]
async fn the_callers_half_may_be_open_or_closed() {
    let edge = Edge::start().await;
    let mut client = Grpc::new(edge.channel.clone());
    client.ready().await.unwrap();
    let (requests, stream) = mpsc::channel(1);
    requests.send(patterns(&["~"])).await.unwrap();
    let codec = ProstCodec::<SubscribeRequest, SubscribeResponse>::default();
    let path = "/tilde.v1.Broker/Subscribe".parse().unwrap();
    let request = tonic::Request::new(ReceiverStream::new(stream));
    // Answered though the caller has not closed its half,
    let mut stream = timeout(PATIENCE, client.streaming(request, path, codec)).await.unwrap().unwrap().into_inner();
    assert!(next(&mut stream).await.unwrap().unwrap().started.is_some());
    edge.publish("a", "open").await;
    assert_eq!(next_text(&mut stream).await, "open");
    // and nothing ends when it does.
    drop(requests);
    edge.publish("a", "closed").await;
    assert_eq!(next_text(&mut stream).await, "closed");
}

#[tokio::test]
async fn a_batch_has_a_result_for_each() {
    let edge = Edge::start().await;
    let requests = vec![text_message("a", "1"), text_message("b~", "2"), text_message("c", "3")];
    let batch = BatchPublishRequest { requests: requests.clone(), atomic: false };
    let results = edge.broker().batch_publish(batch).await.unwrap().into_inner().results;
    let [Some(Published::Published(_)), Some(Published::Error(error)), Some(Published::Published(_))] =
        &results.into_iter().map(|result| result.result).collect::<Vec<_>>()[..]
    else {
        panic!("not as expected")
    };
    assert_eq!((error.code, error.reason.as_str()), (tonic::Code::InvalidArgument as i32, "TOPIC_INVALID"));

    let refused = edge.broker().batch_publish(BatchPublishRequest { requests, atomic: true }).await.unwrap_err();
    refusals::assert_refused(&refused, tonic::Code::InvalidArgument, "TOPIC_INVALID", Some("requests[1].topic"));
}

#[tokio::test]
async fn topics_are_listed_page_by_page() {
    let edge = Edge::start().await;
    for topic in ["a/1", "a/2", "a/3", "b"] {
        edge.publish(topic, "x").await;
    }
    let mut topics = TopicsClient::new(edge.channel.clone());
    let mut request = ListTopicsRequest { pattern: "a/~".into(), page_size: 2, ..Default::default() };
    let first = topics.list_topics(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token;
    let second = topics.list_topics(request).await.unwrap().into_inner();
    let names: Vec<_> = first.topics.iter().chain(&second.topics).map(|topic| topic.name.as_str()).collect();
    assert_eq!((names, second.next_page_token.as_str()), (vec!["a/1", "a/2", "a/3"], ""));

    let request = GetTopicRequest { name: "b".into(), ..Default::default() };
    assert_eq!(topics.get_topic(request).await.unwrap().into_inner().topic.unwrap().messages, 1);
}

#[tokio::test]
async fn namespaces_are_made_changed_and_removed() {
    let edge = Edge::start().await;
    let mut namespaces = NamespacesClient::new(edge.channel.clone());
    let wanted = Namespace { name: "team-7".into(), max_streams: Some(3), ..Default::default() };
    let request = CreateNamespaceRequest { namespace: Some(wanted) };
    let created = namespaces.create_namespace(request.clone()).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!(created.max_age.unwrap().seconds, 7 * 24 * 3600);
    let again = namespaces.create_namespace(request).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!(again, created);

    let update_mask = Some(prost_types::FieldMask { paths: vec!["max_streams".into()] });
    let changed = Namespace { max_streams: None, ..created.clone() };
    let request = UpdateNamespaceRequest { namespace: Some(changed), update_mask };
    let updated = namespaces.update_namespace(request.clone()).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!(updated.max_streams, None);
    let stale = namespaces.update_namespace(request).await.unwrap_err();
    refusals::assert_refused(&stale, tonic::Code::Aborted, "ETAG_MISMATCH", None);

    let listed = namespaces.list_namespaces(ListNamespacesRequest::default()).await.unwrap().into_inner();
    let names: Vec<_> = listed.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["default", "team-7"]);
    namespaces.delete_namespace(DeleteNamespaceRequest { name: "team-7".into() }).await.unwrap();
    let gone = PublishRequest { namespace: "team-7".into(), ..text_message("a", "x") };
    let gone = edge.broker().publish(gone).await.unwrap_err();
    refusals::assert_refused(&gone, tonic::Code::NotFound, "NAMESPACE_NOT_FOUND", Some("namespace"));
    let gone = namespaces.get_namespace(GetNamespaceRequest { name: "team-7".into() }).await.unwrap_err();
    refusals::assert_refused(&gone, tonic::Code::NotFound, "NAMESPACE_NOT_FOUND", Some("name"));
}

#[tokio::test]
async fn the_broker_tells_what_it_allows() {
    let edge = Edge::start().await;
    let mut operations = OperationsClient::new(edge.channel.clone());
    let info = operations.get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.version.as_str(), info.engine.as_str()), (env!("CARGO_PKG_VERSION"), "memory"));
    assert_eq!(info.limits["streams_per_connection"], 4096);
    assert_eq!(
        ["ack_ids", "window_messages", "window_bytes"].map(|most| info.limits[most]),
        [10_000, 100_000, 256 << 20]
    );
    assert_eq!(info.limits["request_bytes"], 4 << 20);
    assert!(info.uptime.is_some() && !info.features.is_empty());
}

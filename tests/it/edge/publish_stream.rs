//! Messages in flight on one stream.

use tilde::pb::v1::{
    CreateNamespaceRequest, Namespace, PublishFailure, PublishStreamRequest, PublishStreamResponse, PublishedRun,
    closing::Reason, namespaces_client::NamespacesClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::*;

/// A stream as a client sees it.
struct Publishing {
    frames: mpsc::Sender<PublishStreamRequest>,
    answers: Streaming<PublishStreamResponse>,
}

impl Publishing {
    async fn open(edge: &Edge, first: PublishStreamRequest) -> Publishing {
        let (frames, stream) = mpsc::channel(16);
        frames.send(first).await.unwrap();
        let answers = edge.broker().publish_stream(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Publishing { frames, answers }
    }

    async fn send(&self, frame: PublishStreamRequest) {
        self.frames.send(frame).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<PublishStreamResponse>, Status> {
        timeout(PATIENCE, self.answers.message()).await.expect("the stream is silent")
    }

    /// Answers until so many requests have one.
    async fn answers(&mut self, requests: usize) -> (Vec<PublishedRun>, Vec<PublishFailure>) {
        let (mut runs, mut failures) = (Vec::new(), Vec::new());
        while runs.iter().map(|run: &PublishedRun| run.requests as usize).sum::<usize>() + failures.len() < requests {
            let answer = self.next().await.unwrap().expect("the stream ended");
            runs.extend(answer.published);
            failures.extend(answer.failures);
        }
        (runs, failures)
    }

    /// Sends a frame until it is not refused for its rate, waiting as long as it is told to in between.
    async fn patiently(&mut self, frame: PublishStreamRequest) -> (Vec<PublishedRun>, Vec<PublishFailure>) {
        loop {
            self.send(frame.clone()).await;
            let (runs, failures) = self.answers(frame.requests.len()).await;
            let limited =
                failures.iter().filter_map(|failure| failure.error.as_ref()).find(|e| e.reason == "RATE_LIMITED");
            match limited.and_then(|error| error.retry_delay) {
                Some(wait) => tokio::time::sleep(Duration::try_from(wait).unwrap()).await,
                None => return (runs, failures),
            }
        }
    }

    /// The rest of the answers, which end well.
    async fn finish(self) -> Vec<PublishStreamResponse> {
        let Publishing { frames, mut answers } = self;
        drop(frames);
        let mut all = Vec::new();
        while let Some(answer) = timeout(PATIENCE, answers.message()).await.expect("the stream is silent").unwrap() {
            all.push(answer);
        }
        all
    }

    /// The status with which the broker ends it.
    async fn refusal(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended well"),
                Err(status) => return status,
            }
        }
    }
}

fn frame(topics: &[&str]) -> PublishStreamRequest {
    let requests = topics.iter().map(|topic| text_message(topic, "x")).collect();
    PublishStreamRequest { requests, ..Default::default() }
}

fn numbered(producer: &str, number: u64, topics: &[&str]) -> PublishStreamRequest {
    PublishStreamRequest { producer_id: producer.into(), first_number: number, ..frame(topics) }
}

fn reasons(failures: &[PublishFailure]) -> Vec<(u64, &str)> {
    failures.iter().map(|failure| (failure.request, failure.error.as_ref().unwrap().reason.as_str())).collect()
}

#[tokio::test]
async fn each_request_is_answered_once_and_the_stream_goes_on_after_a_failure() {
    let edge = Edge::start().await;
    let mut live = edge.subscribe(patterns(&["~"])).await;
    let mut stream = Publishing::open(&edge, frame(&["a", "b"])).await;
    stream.send(frame(&["c~", "d", "", "e"])).await;
    let (runs, failures) = stream.answers(6).await;
    assert_eq!(reasons(&failures), [(2, "TOPIC_INVALID"), (4, "TOPIC_INVALID")]);
    let mut answered: Vec<_> =
        runs.iter().flat_map(|run| run.first_request..run.first_request + u64::from(run.requests)).collect();
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 3, 5]);
    for run in &runs {
        assert_eq!(run.last_sequence - run.first_sequence + 1, u64::from(run.requests));
        assert!(!run.duplicate && run.durability != 0);
    }
    stream.send(frame(&["f"])).await;
    let rest = stream.finish().await;
    assert_eq!(rest.iter().flat_map(|answer| &answer.published).map(|run| run.first_request).collect::<Vec<_>>(), [6]);
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let response = next(&mut live).await.unwrap().unwrap();
        seen.extend(response.messages.into_iter().map(|message| message.topic));
    }
    assert_eq!(seen, ["a", "b", "d", "e", "f"]);
}

#[tokio::test]
async fn headers_come_before_anything_is_sent() {
    let edge = Edge::start().await;
    let (frames, stream) = mpsc::channel::<PublishStreamRequest>(1);
    let answers = timeout(PATIENCE, edge.broker().publish_stream(ReceiverStream::new(stream))).await.unwrap();
    let mut answers = answers.unwrap().into_inner();
    drop(frames);
    assert!(timeout(PATIENCE, answers.message()).await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn what_is_sent_again_is_a_duplicate() {
    let edge = Edge::start().await;
    let mut first = Publishing::open(&edge, numbered("p", 0, &["a", "b", "c"])).await;
    let opening = first.next().await.unwrap().unwrap();
    assert!(opening.next_number == Some(1) && opening.published.is_empty() && opening.failures.is_empty());
    let (runs, _) = first.answers(3).await;
    let place = runs[0].first_sequence;
    // The connection breaks, and nobody knows what was taken.
    drop(first);
    let mut second =
        Publishing::open(&edge, PublishStreamRequest { producer_id: "p".into(), ..Default::default() }).await;
    assert_eq!(second.next().await.unwrap().unwrap().next_number, Some(4));
    second.send(PublishStreamRequest { first_number: 2, ..frame(&["b", "c", "d"]) }).await;
    let (runs, failures) = second.answers(3).await;
    assert!(failures.is_empty());
    let [again, new] = &runs[..] else { panic!("{runs:?}") };
    assert!(again.duplicate && again.requests == 2 && again.first_sequence == place + 1);
    assert!(!new.duplicate && new.requests == 1 && new.first_request == 2);
    assert!(second.finish().await.is_empty());
}

#[tokio::test]
async fn a_second_stream_of_a_producer_ends_the_first() {
    let edge = Edge::start().await;
    let mut first = Publishing::open(&edge, numbered("p", 1, &["a"])).await;
    first.answers(1).await;
    let mut second = Publishing::open(&edge, numbered("p", 0, &[])).await;
    assert_eq!(second.next().await.unwrap().unwrap().next_number, Some(2));
    refusals::assert_refused(&first.refusal().await, Code::Aborted, "PRODUCER_REPLACED", Some("producer_id"));
    second.send(frame(&["b"])).await;
    let (runs, _) = second.answers(1).await;
    assert!(!runs[0].duplicate);
}

#[tokio::test]
async fn numbers_begin_where_the_broker_says_at_most() {
    let edge = Edge::start().await;
    let mut ahead = Publishing::open(&edge, numbered("p", 2, &["a"])).await;
    let refused = ahead.refusal().await;
    refusals::assert_refused(&refused, Code::OutOfRange, "NUMBER_AHEAD", Some("first_number"));
    // Neither at the beginning nor later, however far.
    let mut later = Publishing::open(&edge, numbered("p", 0, &[])).await;
    later.send(PublishStreamRequest { first_number: u64::MAX, ..frame(&["a"]) }).await;
    let refused = later.refusal().await;
    refusals::assert_refused(&refused, Code::OutOfRange, "NUMBER_AHEAD", Some("first_number"));
    // Nothing of it was published.
    let mut stream = Publishing::open(&edge, numbered("p", 1, &["a"])).await;
    let (runs, _) = stream.answers(1).await;
    assert!(!runs[0].duplicate);
}

#[tokio::test]
async fn after_a_passing_failure_the_number_must_be_sent_again() {
    let edge = Edge::start().await;
    let limited = Namespace { name: "slow".into(), max_messages_per_second: Some(1), ..Default::default() };
    let create = CreateNamespaceRequest { namespace: Some(limited) };
    NamespacesClient::new(edge.channel.clone()).create_namespace(create).await.unwrap();
    let first = PublishStreamRequest { namespace: "slow".into(), ..numbered("p", 1, &["a"]) };
    let mut stream = Publishing::open(&edge, first).await;
    stream.answers(1).await;
    stream.send(frame(&["b"])).await;
    let (_, failures) = stream.answers(1).await;
    assert_eq!(reasons(&failures), [(1, "RATE_LIMITED")]);
    // Whatever follows is refused too, however much room there is by then.
    let (_, failures) = stream.patiently(frame(&["c"])).await;
    let told: Vec<_> = reasons(&failures).iter().map(|(_, reason)| *reason).collect();
    assert_eq!(told, ["PRECEDING_FAILED"]);
    let (runs, failures) = stream.patiently(PublishStreamRequest { first_number: 2, ..frame(&["b"]) }).await;
    assert!(failures.is_empty() && !runs[0].duplicate);
    // What can never be taken has its number used up no sooner than those before it are taken.
    stream.send(frame(&["c", "d~", "e"])).await;
    let (_, failures) = stream.answers(3).await;
    let told: Vec<_> = reasons(&failures).iter().map(|(_, reason)| *reason).collect();
    assert_eq!(told, ["RATE_LIMITED"; 3]);
    let (runs, failures) = stream.patiently(PublishStreamRequest { first_number: 3, ..frame(&["c", "d~"]) }).await;
    assert_eq!((failures[0].error.as_ref().unwrap().reason.as_str(), runs.len()), ("TOPIC_INVALID", 1));
    let asking = PublishStreamRequest { namespace: "slow".into(), ..numbered("p", 0, &[]) };
    let mut again = Publishing::open(&edge, asking).await;
    assert_eq!(again.next().await.unwrap().unwrap().next_number, Some(5));
}

#[tokio::test]
async fn a_final_refusal_uses_its_number_up() {
    let edge = Edge::start().await;
    let mut stream = Publishing::open(&edge, numbered("p", 1, &["a", "b~", "c"])).await;
    let (runs, failures) = stream.answers(3).await;
    assert_eq!(reasons(&failures), [(1, "TOPIC_INVALID")]);
    assert_eq!(runs.iter().map(|run| run.requests).sum::<u32>(), 2);
    let mut with_id = frame(&["d"]);
    with_id.requests[0].message_id = "id".into();
    stream.send(with_id).await;
    let mut elsewhere = frame(&["e"]);
    elsewhere.requests[0].namespace = "elsewhere".into();
    stream.send(elsewhere).await;
    let (_, failures) = stream.answers(2).await;
    assert_eq!(reasons(&failures), [(3, "REQUEST_INVALID"), (4, "REQUEST_INVALID")]);
    stream.send(frame(&["f"])).await;
    stream.answers(1).await;
    let mut again = Publishing::open(&edge, numbered("p", 0, &[])).await;
    assert_eq!(again.next().await.unwrap().unwrap().next_number, Some(7));
}

#[tokio::test]
async fn what_was_refused_for_good_is_not_told_as_published_when_it_is_sent_again() {
    let edge = Edge::start().await;
    edge.publish("a", "there").await;
    let mut swap = numbered("p", 1, &["a", "b"]);
    swap.requests[0].expected_last_sequence = Some(0);
    let mut stream = Publishing::open(&edge, swap.clone()).await;
    let (_, failures) = stream.answers(2).await;
    assert_eq!(reasons(&failures), [(0, "SEQUENCE_CONFLICT")]);
    // The answer was lost on the way.
    let mut again = Publishing::open(&edge, swap).await;
    let (runs, failures) = again.answers(2).await;
    assert_eq!(reasons(&failures), [(0, "REQUEST_INVALID")]);
    assert!(runs.len() == 1 && runs[0].duplicate && runs[0].first_request == 1);
}

#[tokio::test]
async fn what_is_refused_at_once_does_not_hold_up_what_comes_behind() {
    let edge = Edge::start().await;
    let other = Namespace { name: "other".into(), ..Default::default() };
    let create = CreateNamespaceRequest { namespace: Some(other) };
    NamespacesClient::new(edge.channel.clone()).create_namespace(create).await.unwrap();
    let mut turns = frame(&vec!["t"; 1000]);
    for (at, request) in turns.requests.iter_mut().enumerate() {
        request.ttl = Some(prost_types::Duration::default());
        request.namespace = ["", "other"][at % 2].into();
    }
    turns.requests[999].ttl = None;
    let mut stream = Publishing::open(&edge, turns).await;
    let (runs, failures) = stream.answers(1000).await;
    assert_eq!((runs.len(), failures.len()), (1, 999));
    assert!(stream.finish().await.is_empty());
}

#[tokio::test]
async fn what_a_stream_may_not_say_ends_it_after_the_answers() {
    let edge = Edge::start().await;
    let many: Vec<&str> = vec!["t"; 1001];
    let second = |field: &'static str, frame| (field, frame);
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let cases = [
        second("requests", frame(&many)),
        second("producer_id", PublishStreamRequest { producer_id: "q".into(), ..frame(&["b"]) }),
        second("namespace", PublishStreamRequest { namespace: "other".into(), ..frame(&["b"]) }),
        second("heartbeat_interval", PublishStreamRequest { heartbeat_interval: seconds(3), ..frame(&["b"]) }),
    ];
    for (field, frame) in cases {
        let mut stream = Publishing::open(&edge, numbered("p", 0, &["a"])).await;
        stream.send(frame).await;
        let (runs, _) = stream.answers(1).await;
        assert_eq!(runs[0].requests, 1);
        refusals::assert_refused(&stream.refusal().await, Code::InvalidArgument, "REQUEST_INVALID", Some(field));
    }
    for (field, frame) in [
        ("producer_id", numbered("a~", 0, &[])),
        ("first_number", PublishStreamRequest { first_number: 1, ..frame(&[]) }),
        ("heartbeat_interval", PublishStreamRequest { heartbeat_interval: seconds(301), ..frame(&[]) }),
    ] {
        let mut stream = Publishing::open(&edge, frame).await;
        refusals::assert_refused(&stream.refusal().await, Code::InvalidArgument, "REQUEST_INVALID", Some(field));
    }
    let missing = PublishStreamRequest { namespace: "missing".into(), ..frame(&["a"]) };
    let mut stream = Publishing::open(&edge, missing).await;
    let refused = stream.refusal().await;
    refusals::assert_refused(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND", Some("namespace"));
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats() {
    let edge = Edge::start().await;
    let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let mut stream = Publishing::open(&edge, PublishStreamRequest { heartbeat_interval, ..frame(&["a"]) }).await;
    let (runs, _) = stream.answers(1).await;
    let heartbeat = stream.next().await.unwrap().unwrap().heartbeat.unwrap();
    assert_eq!(heartbeat.last_sequence, runs[0].first_sequence);
    assert!(heartbeat.server_time.is_some());
}

#[tokio::test]
async fn who_has_said_nothing_yet_does_not_hold_up_a_drain() {
    let edge = Edge::start().await;
    let (_frames, stream) = mpsc::channel::<PublishStreamRequest>(1);
    let mut answers = edge.broker().publish_stream(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let stopping = tokio::spawn(edge.stop());
    let refused = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    refusals::assert_refused(&refused, Code::Unavailable, "DRAINING", None);
    assert_eq!(stopping.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_draining_broker_answers_what_it_took() {
    let edge = Edge::start().await;
    let mut stream = Publishing::open(&edge, numbered("p", 0, &["a"])).await;
    stream.answers(1).await;
    let Edge { shutdown, serving, .. } = edge;
    shutdown.request(None);
    let closing = stream.next().await.unwrap().unwrap().closing.expect("nothing else is to be said");
    assert!(closing.reason() == Reason::Draining && closing.reconnect_delay.is_some());
    refusals::assert_refused(&stream.refusal().await, Code::Unavailable, "DRAINING", None);
    assert_eq!(timeout(PATIENCE, serving).await.unwrap().unwrap().cut, 0);
}

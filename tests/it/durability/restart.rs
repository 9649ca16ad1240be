//! What goes on where it was: numbering, cursors, namespaces, purges, and what has expired stays away.

use rustix::process::Signal;
use tilde::{
    client::Fault,
    pb::v1::{
        Gap, Namespace, PublishRequest, PurgeTopicsRequest, SubscribeRequest,
        gap::Reason,
        start_position::{Position, Preset},
    },
};
use tonic::Code;

use super::{
    client::{Read, earliest, everything, next, start, text, texts},
    *,
};
use crate::support::{self, run};

#[tokio::test]
async fn a_directory_has_one_broker() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let told = run(support::serve(place.path(), &[]), None).told(1);
    assert!(told.contains("error: the data directory data is in use by another process"), "{told}");
    assert!(told.contains("--data"), "{told}");
    Client::of(&broker).await.publish(message("a", "x")).await.unwrap();
    // Whoever is killed holds nothing.
    broker.kill();
    Tilde::start_in(place.path(), &[]).stop();
}

#[tokio::test]
async fn numbering_goes_on_and_cursors_stay_valid() {
    let place = tempfile::tempdir().unwrap();
    let mut answers = Vec::new();
    for (round, end) in [Signal::TERM, Signal::TERM, Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let broker = Tilde::start_in(place.path(), &[]);
        let client = Client::of(&broker).await;
        for number in 0..3 {
            let answer = client.publish(message("a", format!("{round}/{number}"))).await.unwrap();
            answers.push(answer);
        }
        broker.signal(end);
        assert_eq!(broker.wait().status.success(), end == Signal::TERM);
    }
    let sequences: Vec<u64> = answers.iter().map(|answer| answer.sequence).collect();
    assert_eq!(sequences[..9], [1, 2, 3, 4, 5, 6, 7, 8, 9], "a clean stop leaves no hole");
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");

    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    for (at, answer) in answers.iter().enumerate() {
        let read = client.read(Position::AfterCursor(answer.cursor.clone())).await;
        assert_eq!((read.gaps.as_slice(), read.failure.is_none()), (&[][..], true));
        let got: Vec<u64> = read.messages.iter().map(|message| message.sequence).collect();
        assert_eq!(got, &sequences[at + 1..]);
        let strict =
            SubscribeRequest { strict: true, start: start(Position::AfterCursor(read.cursor)), ..everything() };
        assert!(client.read_with(strict).await.failure.is_none());
    }
    broker.stop();
}

/// Numbering goes on further up after a crash: nobody is told that he has seen what was left out.
#[tokio::test]
async fn no_cursor_names_a_position_that_a_crash_left_out() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    client.publish(message("a", "one")).await.unwrap();
    let two = client.publish(message("a", "two")).await.unwrap();
    broker.kill();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let three = client.publish(message("a", "three")).await.unwrap();
    assert!(three.sequence > two.sequence + 1, "the crash left nothing out");

    let at = |sequence: u64| SubscribeRequest { start: start(Position::Sequence(sequence)), ..everything() };
    let mut cursors = vec![client.read_with(SubscribeRequest { max_messages: 2, ..at(1) }).await.cursor];
    for position in
        [Position::Sequence(three.sequence), Position::LastMessages(1), Position::Time(three.publish_time.unwrap())]
    {
        let request = SubscribeRequest { start: start(position), ..everything() };
        let mut stream = client.subscribe(request).await.unwrap();
        cursors.push(next(&mut stream).await.unwrap().unwrap().cursor);
    }
    for cursor in cursors {
        let strict = SubscribeRequest { strict: true, start: start(Position::AfterCursor(cursor)), ..everything() };
        let read = client.read_with(strict).await;
        assert_eq!((texts(&read.messages), read.gaps.as_slice()), (vec!["three"], &[][..]), "{:?}", read.failure);
    }
    broker.stop();
}

#[tokio::test]
async fn a_stream_that_waits_beyond_the_end_goes_on_waiting() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let one = client.publish(message("a", "one")).await.unwrap().sequence;
    let request = SubscribeRequest { start: start(Position::Sequence(one + 3)), ..everything() };
    let cursor = next(&mut client.subscribe(request).await.unwrap()).await.unwrap().unwrap().cursor;
    broker.stop();

    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let strict = SubscribeRequest { strict: true, start: start(Position::AfterCursor(cursor)), ..everything() };
    let mut stream = client.subscribe(strict.clone()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap().gap, None);
    for text in ["two", "three", "four", "five"] {
        client.publish(message("a", text)).await.unwrap();
    }
    assert_eq!(texts(&next(&mut stream).await.unwrap().unwrap().messages)[0], "four");
    assert_eq!(texts(&client.read_with(strict).await.messages), ["four", "five"]);
    broker.stop();
}

#[tokio::test]
async fn a_stream_begins_where_it_would_have_before_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut answers = Vec::new();
    for (round, end) in [Signal::TERM, Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let broker = Tilde::start_in(place.path(), &[]);
        let client = Client::of(&broker).await;
        for topic in ["a", "b", &format!("only/{round}")] {
            let attributes = [("round".to_owned(), round.to_string())].into();
            let message = PublishRequest { attributes, ..message(topic, format!("{topic} {round}")) };
            answers.push(client.publish(message).await.unwrap());
        }
        broker.signal(end);
        broker.wait();
    }
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let read = async |position: Position, filter: &str| {
        let request = SubscribeRequest { start: start(position), filter: filter.into(), ..everything() };
        let read = client.read_with(request).await;
        assert_eq!((read.gaps.as_slice(), read.failure.is_none()), (&[][..], true));
        read.messages.iter().map(|message| text(message).to_owned()).collect::<Vec<_>>()
    };
    let all = read(Position::Sequence(0), "").await;
    assert_eq!(all.len(), 12);
    assert_eq!(read(Position::LastMessages(5), "").await, all[7..]);
    assert_eq!(read(Position::LastMessages(2), "attributes.round < '2' && topic in ['a', 'b']").await, all[3..5]);
    let newest = ["only/0 0", "only/1 1", "only/2 2", "a 3", "b 3", "only/3 3"];
    assert_eq!(read(Position::Preset(Preset::LastPerTopic.into()), "").await, newest);
    for (at, answer) in answers.iter().enumerate() {
        // What was published at the same moment has the same time.
        let first = answers.iter().position(|other| other.publish_time == answer.publish_time).unwrap();
        assert!(first <= at);
        assert_eq!(read(Position::Time(answer.publish_time.unwrap()), "").await, all[first..]);
    }
    broker.stop();
}

/// Though they lie far apart, over several files, and though a stream breaks off between them.
#[tokio::test]
async fn none_of_the_newest_is_left_out() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let filler = || message("p", "-");
    for round in 0..16 {
        let mut batch: Vec<_> = (0..1_000).map(|_| filler()).collect();
        match round {
            0 => batch[4] = message("a", "a"),
            1 => {
                batch[500] = message("b", "b");
                batch[502] = message("c", "c");
            }
            _ => {}
        }
        let results = client.publish_batch(batch, true).await.unwrap();
        assert!(results.iter().all(Result::is_ok));
    }
    let newest = |max_messages| SubscribeRequest {
        start: start(Position::Preset(Preset::LastPerTopic.into())),
        max_messages,
        ..everything()
    };
    let topics = |read: &Read| read.messages.iter().map(|message| message.topic.clone()).collect::<Vec<_>>();
    // From memory, and from the disk.
    assert_eq!(topics(&client.read_with(newest(0)).await), ["a", "b", "c", "p"]);
    broker.stop();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    assert_eq!(topics(&client.read_with(newest(0)).await), ["a", "b", "c", "p"]);
    for (max_messages, rest) in [(1, &["b", "c"][..]), (2, &["c"]), (3, &[])] {
        let cursor = client.read_with(newest(max_messages)).await.cursor;
        let read = client.read(Position::AfterCursor(cursor)).await;
        assert_eq!(topics(&read).into_iter().filter(|topic| topic != "p").collect::<Vec<_>>(), rest);
    }
    broker.stop();
}

#[tokio::test]
async fn ids_are_remembered_across_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let with_id = |text: &str| PublishRequest { message_id: "7".into(), ..message("a", text) };
    let broker = Tilde::start_in(place.path(), &[]);
    let first = Client::of(&broker).await.publish(with_id("x")).await.unwrap();
    broker.stop();
    for _ in 0..2 {
        let broker = Tilde::start_in(place.path(), &[]);
        let client = Client::of(&broker).await;
        let again = client.publish(with_id("x")).await.unwrap();
        assert!(again.duplicate && !first.duplicate);
        assert_eq!((again.sequence, again.publish_time), (first.sequence, first.publish_time));
        assert_eq!(again.cursor, first.cursor);
        let other = client.publish(with_id("another payload")).await.unwrap_err();
        ended_with(Some(other), Code::AlreadyExists, "MESSAGE_ID_REUSED");
        broker.kill();
    }
}

#[tokio::test]
async fn expected_sequences_are_known_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let first = Client::of(&broker).await.publish(message("a", "x")).await.unwrap();
    broker.kill();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let expecting = |sequence| PublishRequest { expected_last_sequence: Some(sequence), ..message("a", "y") };
    let moved = client.publish(expecting(0)).await.unwrap_err();
    let fault = ended_with(Some(moved), Code::Aborted, "SEQUENCE_CONFLICT");
    assert!(fault.metadata.values().any(|value| *value == first.sequence.to_string()), "{fault:?}");
    client.publish(expecting(first.sequence)).await.unwrap();
    broker.stop();
}

#[tokio::test]
async fn a_namespace_that_was_made_anew_is_another_log() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let namespace = || Namespace { name: "team".into(), ..Default::default() };
    let publish = |text: &str| PublishRequest { namespace: "team".into(), ..message("a", text) };
    client.create_namespace(namespace()).await.unwrap();
    let before = client.publish(publish("before")).await.unwrap();
    let purge = PurgeTopicsRequest { namespace: "team".into(), pattern: "~".into(), ..Default::default() };
    client.topics().purge_topics(purge).await.unwrap();
    client.delete_namespace("team").await;
    client.create_namespace(namespace()).await.unwrap();
    client.publish(publish("after")).await.unwrap();
    broker.kill();

    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let start = start(Position::AfterCursor(before.cursor));
    let request = SubscribeRequest { namespace: "team".into(), start, ..everything() };
    let read = client.read_with(request.clone()).await;
    let gap = Gap { reason: Reason::LogReplaced as i32, first_sequence: 0, last_sequence: 0 };
    assert_eq!((read.gaps.as_slice(), texts(&read.messages)), (&[gap][..], vec!["after"]));
    let refused = client.read_with(SubscribeRequest { strict: true, ..request }).await;
    ended_with(refused.failure, Code::OutOfRange, "POSITION_EXPIRED");
    broker.stop();
}

/// Reads until retention has taken something.
async fn read_until_a_gap(client: &Client, request: &SubscribeRequest) -> client::Read {
    let patient = async {
        loop {
            let read = client.read_with(request.clone()).await;
            if !read.gaps.is_empty() {
                return read;
            }
        }
    };
    tokio::time::timeout(PATIENCE, patient).await.expect("retention takes nothing")
}

#[tokio::test]
async fn what_retention_took_is_a_gap() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let namespace = Namespace { name: "small".into(), max_bytes: Some(1 << 20), ..Default::default() };
    client.create_namespace(namespace).await.unwrap();
    let mut answers = Vec::new();
    for number in 0..80 {
        let request =
            PublishRequest { namespace: "small".into(), ..message("a", format!("{number} {}", "x".repeat(50_000))) };
        answers.push(client.publish(request).await.unwrap());
    }
    let after_first = start(Position::AfterCursor(answers[0].cursor.clone()));
    let request = SubscribeRequest { namespace: "small".into(), start: after_first, ..everything() };
    read_until_a_gap(&client, &request).await;
    broker.kill();

    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let read = client.read_with(request.clone()).await;
    let [gap] = read.gaps[..] else { panic!("{:?}", read.gaps) };
    assert_eq!((gap.reason(), gap.first_sequence), (Reason::Retention, answers[0].sequence + 1));
    assert_eq!(read.messages[0].sequence, gap.last_sequence + 1);
    assert_eq!(read.messages.last().unwrap().sequence, answers[79].sequence);
    let whole = read.messages.iter().map(|message| message.sequence).eq(gap.last_sequence + 1..=answers[79].sequence);
    assert!(whole, "all behind the gap is there");
    let refused = client.read_with(SubscribeRequest { strict: true, ..request }).await;
    let fault = ended_with(refused.failure, Code::OutOfRange, "POSITION_EXPIRED");
    assert_eq!(fault.metadata.get("first"), Some(&(gap.last_sequence + 1).to_string()), "{fault:?}");
    broker.stop();
}

#[tokio::test]
async fn what_is_too_old_goes_though_nobody_publishes() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let namespace = Namespace { name: "brief".into(), max_age: Some(second), ..Default::default() };
    client.create_namespace(namespace).await.unwrap();
    let publish = || PublishRequest { namespace: "brief".into(), ..message("a", "x") };
    let first = client.publish(publish()).await.unwrap();
    let request = SubscribeRequest { namespace: "brief".into(), start: start(Position::Sequence(1)), ..everything() };
    let read = read_until_a_gap(&client, &request).await;
    assert!(read.messages.is_empty(), "{:?}", read.messages);
    broker.kill();
    // Empty, and numbering goes on all the same.
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let second = client.publish(publish()).await.unwrap();
    assert!(second.sequence > first.sequence, "{} after {}", second.sequence, first.sequence);
    broker.stop();
}

#[tokio::test]
async fn namespaces_are_deleted_and_made_anew_while_retention_is_at_work() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let name = |at: usize| format!("team-{at}");
    let publish = |at: usize, text: &str| PublishRequest { namespace: name(at), ..message("a", text) };
    let count = rounds(100, 1000);
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    for at in 0..count {
        let namespace = Namespace { name: name(at), max_age: Some(second), ..Default::default() };
        client.create_namespace(namespace).await.unwrap();
    }
    for at in 0..count {
        client.publish(publish(at, "before")).await.unwrap();
    }
    // Retention has come to some of them, in an order of its own, and comes to the others soon.
    let emptied = async |at: usize| {
        let start = start(Position::Sequence(1));
        let read = client.read_with(SubscribeRequest { namespace: name(at), start, ..everything() }).await;
        !read.gaps.is_empty()
    };
    let patient = async {
        for at in (0..count).cycle().step_by(7) {
            if emptied(at).await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, patient).await.expect("retention takes nothing");
    let mut answers = Vec::new();
    for at in 0..count {
        client.delete_namespace(&name(at)).await;
        client.create_namespace(Namespace { name: name(at), ..Default::default() }).await.unwrap();
        answers.push(client.publish(publish(at, "after")).await.unwrap());
    }
    broker.kill();

    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    for (at, answer) in answers.iter().enumerate() {
        let read = client.read_with(SubscribeRequest { namespace: name(at), start: start(earliest()), ..everything() });
        let read = read.await;
        assert_eq!((texts(&read.messages), read.messages[0].sequence), (vec!["after"], answer.sequence));
    }
    broker.stop();
}

#[tokio::test]
async fn what_expired_stays_away() {
    let place = tempfile::tempdir().unwrap();
    let mut broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let ttl = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let brief = PublishRequest { ttl: ttl(0, 50_000_000), ..message("a", "brief") };
    client.publish(brief).await.unwrap();
    client.publish(PublishRequest { ttl: ttl(3600, 0), ..message("a", "long") }).await.unwrap();
    client.publish(message("a", "for ever")).await.unwrap();
    let patient = async { while texts(&client.read(earliest()).await.messages).contains(&"brief") {} };
    tokio::time::timeout(PATIENCE, patient).await.expect("it does not expire");
    for end in [Signal::TERM, Signal::KILL] {
        broker.signal(end);
        broker.wait();
        broker = Tilde::start_in(place.path(), &[]);
        let read = Client::of(&broker).await.read(earliest()).await;
        assert_eq!(texts(&read.messages), ["long", "for ever"]);
        assert!(read.messages[0].expire_time.is_some() && read.messages[1].expire_time.is_none());
    }
}

#[tokio::test]
async fn what_was_purged_stays_away() {
    let place = tempfile::tempdir().unwrap();
    let mut broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    for (topic, text) in [("a/1", "gone"), ("b", "stays"), ("a/2", "gone")] {
        client.publish(message(topic, text)).await.unwrap();
    }
    let purge = PurgeTopicsRequest { pattern: "a/~".into(), ..Default::default() };
    assert_eq!(client.topics().purge_topics(purge).await.unwrap().into_inner().purged_messages, 2);
    client.publish(message("a/1", "later")).await.unwrap();
    // At once: its answer said that it is done.
    for end in [Signal::KILL, Signal::TERM, Signal::KILL] {
        broker.signal(end);
        broker.wait();
        broker = Tilde::start_in(place.path(), &[]);
        let read = Client::of(&broker).await.read(earliest()).await;
        assert_eq!(texts(&read.messages), ["stays", "later"]);
    }
}

#[tokio::test]
async fn many_namespaces_open_again() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let client = Client::of(&broker).await;
    let count = rounds(200, 2000);
    let name = |at: usize| format!("team-{at}");
    let mut answers = Vec::new();
    for at in 0..count {
        client.create_namespace(Namespace { name: name(at), ..Default::default() }).await.unwrap();
        let request = PublishRequest { namespace: name(at), ..message("a", name(at)) };
        answers.push(client.publish(request).await.unwrap());
    }
    broker.kill();
    let began = std::time::Instant::now();
    let broker = Tilde::start_in(place.path(), &[]);
    eprintln!("{count} namespaces opened in {:?}", began.elapsed());
    let client = Client::of(&broker).await;
    for (at, answer) in answers.iter().enumerate() {
        let read =
            client.read_with(SubscribeRequest { namespace: name(at), start: start(earliest()), ..everything() }).await;
        let [message] = &read.messages[..] else { panic!("{:?}", read.failure.map(Fault::from)) };
        assert_eq!((message.sequence, text(message)), (answer.sequence, &*name(at)));
    }
    broker.stop();
}

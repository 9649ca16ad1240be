//! Many callers: held for nothing but memory, and some of them leave when they like.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    pin::pin,
    thread,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, poll};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::{JoinSet, yield_now},
};
use tokio_stream::wrappers::ReceiverStream;

use super::support::{BackEnd, Behind, Files, Gateway, Topics};
use crate::support::{
    dice::{Dice, rounds},
    http::until,
    run, tilde,
};

/// Runs `tilde gateway bench` against a gateway. Answers with what it says.
#[track_caller]
fn bench(behind: &impl Behind, gateway: &Gateway, flags: &[&str]) -> Value {
    let address = gateway.url.strip_prefix("http://").unwrap();
    let own = ["gateway", "bench", "--gateway", address, "--metrics", gateway.metrics_address()];
    let there = behind.flags();
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    let told = run(tilde(behind.place(), &[&own, &there[..], flags].concat()), None).json();
    told.into_iter().next().unwrap()
}

fn start(behind: &impl Behind, flags: &[&str]) -> Gateway {
    let own = behind.flags();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    Gateway::start(behind.place(), &[&own[..], flags].concat())
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn as_many_as_one_likes_are_answered_as_written() {
    let files = Files::new();
    let requests = rounds(2_000, 20_000).to_string();
    for (mode, shape) in [("collapse", "once"), ("primitive", "wavering"), ("collapse", "rising")] {
        let gateway = start(&files, &["--mode", mode, "--timeout", "60s"]);
        let report = bench(&files, &gateway, &["--shape", shape, "--requests", &requests, "--batch", "20"]);
        assert_eq!((report["answers"].to_string(), number(&report, "wrong")), (requests.clone(), 0), "{report}");
        until("no file is left", || files.is_empty());
        assert_eq!(gateway.metric("waiting") + gateway.metric("groups") + gateway.metric("groups_behind"), 0);
        assert_eq!(number(&report, "gateway_threads_before"), number(&report, "gateway_threads_most"), "{report}");
    }
}

#[test]
fn the_same_through_a_broker() {
    let topics = Topics::new();
    let gateway = start(&topics, &["--timeout", "60s"]);
    let requests = rounds(2_000, 20_000).to_string();
    let report = bench(&topics, &gateway, &["--shape", "jumping", "--requests", &requests, "--batch", "20"]);
    assert_eq!((report["answers"].to_string(), number(&report, "wrong")), (requests, 0), "{report}");
    assert_eq!(number(&report, "gateway_threads_before"), number(&report, "gateway_threads_most"), "{report}");
}

/// All wait at the same time, on a hundred keys: a hundred requests, no thread more, and the memory comes back.
#[test]
fn who_waits_costs_no_thread_and_is_one_of_a_hundred_requests() {
    let files = Files::new();
    let gateway = start(&files, &["--mode", "collapse", "--timeout", "120s"]);
    let held = rounds(2_000, 20_000) as u64;
    let batch = (held / 100).to_string();
    // With the memory of one who has worked before, and has let go of what he did not keep.
    let settle = format!("{}s", rounds(0, 15));
    let few = bench(&files, &gateway, &["--requests", "1000", "--batch", "10", "--delay", "3s", "--settle", &settle]);
    assert_eq!(number(&few, "gateway_waiting_most"), 1_000, "{few}");
    // As long as it takes until all of them have come.
    let delay = format!("{}s", rounds(4, 40));
    let flags = ["--requests", &held.to_string(), "--batch", &batch, "--delay", &delay];
    let many = bench(&files, &gateway, &flags);
    assert_eq!((number(&many, "gateway_waiting_most"), number(&many, "answers")), (held, held), "{many}");
    assert_eq!(number(&many, "back_end_requests"), 100, "{many}");
    assert_eq!(number(&many, "gateway_threads_most"), number(&few, "gateway_threads_most"), "{many}");
    assert!(number(&many, "gateway_resident_most") < 300 << 20, "{many}");
    let before = number(&many, "gateway_resident_before");
    until("the memory comes back", || gateway.metric("process_resident_memory_bytes") < before * 6 / 5);
    assert!(files.is_empty());
}

/// Callers that leave in whatever moment: before they have said anything, within the head, within the body, while they wait,
/// and within the answer. Some stay, and are answered.
#[test]
fn callers_that_hang_up_leave_nothing_behind() {
    leave_nothing_behind(|address, dice, calls| {
        (0..calls).filter(|_| hang_up(&mut TcpStream::connect(&address).unwrap(), dice)).count()
    });
}

/// The same over HTTP/2, where a caller goes and its connection stays.
#[test]
fn callers_that_cancel_leave_nothing_behind() {
    leave_nothing_behind(|address, dice, calls| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(cancel(&address, dice, calls))
    });
}

/// Lets callers call: each of a few threads gets an address, chance, and how often to call, and answers how many were answered.
fn leave_nothing_behind(call: impl Fn(String, &mut Dice, usize) -> usize + Sync) {
    let mut files = Files::new();
    let gateway = start(&files, &["--timeout", "1s", "--abandon-after", "2s", "--mode", "primitive"]);
    let answering = BackEnd::start(files.path(), vec![b'x'; 40_000]);
    // All threads are there once one has been answered.
    gateway.get("/first").told();
    let (threads, resident) = (gateway.metric("process_threads"), gateway.metric("process_resident_memory_bytes"));
    let address = gateway.url.strip_prefix("http://").unwrap();
    let (mut dice, callers) = (Dice::new(), 4);
    let calls = rounds(400, 100_000) / callers;
    let answered: usize = thread::scope(|scope| {
        let call = &call;
        let start = |mut dice: Dice| scope.spawn(move || call(address.to_owned(), &mut dice, calls));
        let running: Vec<_> = (0..callers).map(|_| start(dice.split())).collect();
        running.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert!(answered > 0, "some stayed, and were answered");
    until("nobody waits", || ["waiting", "groups", "groups_behind"].iter().all(|name| gateway.metric(name) == 0));
    drop(answering);
    until("no file is left", || files.is_empty());
    assert_eq!(gateway.metric("process_threads"), threads);
    // What a thousand of them would hold, whatever their number.
    assert!(gateway.metric("process_resident_memory_bytes") < resident + (64 << 20));
    let mut caller = gateway.get("/hello");
    let (asked, _) = files.take();
    files.answer(asked, b"200\nstill here");
    assert_eq!(caller.told().body, b"still here");
}

/// A call that leaves when it likes. Answers whether it was answered.
fn hang_up(stream: &mut TcpStream, dice: &mut Dice) -> bool {
    let path = dice.roll(8);
    let request = format!("POST /{path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789");
    let phase = dice.roll(4);
    let said = match phase {
        0 => dice.roll(request.len() as u64) as usize,
        _ => request.len(),
    };
    let _ = stream.write_all(&request.as_bytes()[..said]);
    match phase {
        // It waits a while, or says that it says no more.
        1 if dice.roll(2) == 0 => drop(stream.shutdown(Shutdown::Write)),
        // It leaves within the answer, or has all that it wants.
        2 | 3 if dice.roll(2) == 0 => return stream.read(&mut [0; 64]).is_ok_and(|read| read > 0),
        _ => {}
    }
    false
}

/// Calls, many at the same time on a connection, that are cancelled when they like. A gateway ends a connection with too many
/// of them in a row; then the next one serves.
async fn cancel(address: &str, dice: &mut Dice, calls: usize) -> usize {
    let (mut called, mut answered) = (0, 0);
    while called < calls {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut calling = JoinSet::new();
        while called < calls && !sender.is_closed() {
            called += 1;
            calling.spawn(cancelled(sender.clone(), dice.split()));
            if calling.len() >= 64 {
                answered += usize::from(calling.join_next().await.unwrap().unwrap());
            }
        }
        answered += calling.join_all().await.into_iter().filter(|is_answered| *is_answered).count();
        drop(sender);
        let _ = connection.await.unwrap();
    }
    answered
}

/// One of them. Answers whether it was answered in full.
async fn cancelled(mut sender: http2::SendRequest<BoxBody<Bytes, Infallible>>, mut dice: Dice) -> bool {
    let (rest, body) = mpsc::channel(1);
    let body = BoxBody::new(StreamBody::new(ReceiverStream::new(body).map(|bytes: Bytes| Ok(Frame::data(bytes)))));
    let request = http::Request::post(format!("http://a/{}", dice.roll(8))).body(body).unwrap();
    let mut answer = pin!(sender.send_request(request));
    let phase = dice.roll(5);
    // Within the head, or the body.
    if phase == 0 || rest.send("01234".into()).await.is_err() || phase == 1 {
        let _ = poll!(&mut answer);
        return false;
    }
    drop(rest);
    // While it waits: as many looks as come.
    for _ in 0..dice.roll(20) {
        if poll!(&mut answer).is_ready() {
            return false;
        }
        yield_now().await;
    }
    if phase == 2 {
        return false;
    }
    let Ok(answer) = answer.await else { return false };
    let (status, mut body) = (answer.status(), answer.into_body());
    match phase {
        // Within the answer.
        3 => drop(body.frame().await),
        _ => return body.collect().await.is_ok() && status == 200,
    }
    false
}

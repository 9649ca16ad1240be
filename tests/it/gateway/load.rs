//! Many callers: held for nothing but memory, and some of them leave when they like.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use serde_json::Value;

use super::support::{Behind, Files, Gateway, Topics};
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
    let few = bench(&files, &gateway, &["--requests", "1000", "--batch", "10", "--delay", "3s"]);
    assert_eq!(number(&few, "gateway_waiting_most"), 1_000, "{few}");
    // As long as it takes until all of them have come.
    let delay = format!("{}s", rounds(4, 40));
    let flags = ["--requests", &held.to_string(), "--batch", &batch, "--delay", &delay];
    let many = bench(&files, &gateway, &flags);
    assert_eq!((number(&many, "gateway_waiting_most"), number(&many, "answers")), (held, held), "{many}");
    assert_eq!(number(&many, "back_end_requests"), 100, "{many}");
    assert_eq!(number(&many, "gateway_threads_most"), number(&few, "gateway_threads_most"), "{many}");
    assert!(number(&many, "gateway_resident_most") < 300 << 20, "{many}");
    assert!(files.is_empty());
}

/// Callers that leave in whatever moment: before they have said anything, within the head, within the body, while they wait,
/// and within the answer. Some stay, and are answered.
#[test]
fn callers_that_hang_up_leave_nothing_behind() {
    let mut files = Files::new();
    let gateway = start(&files, &["--timeout", "1s", "--abandon-after", "2s", "--mode", "primitive"]);
    let (threads, resident) = (gateway.metric("process_threads"), gateway.metric("process_resident_memory_bytes"));
    let stop = Arc::new(AtomicBool::new(false));
    let answering = {
        let (stop, directory) = (Arc::clone(&stop), files.path());
        thread::spawn(move || {
            while !stop.load(Relaxed) {
                let entries = std::fs::read_dir(&directory).unwrap().filter_map(Result::ok);
                for request in
                    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "req"))
                {
                    let answer = request.with_extension("resp");
                    if !answer.exists() {
                        // The gateway may be done with it meanwhile.
                        let _ = std::fs::write(answer, [b"200\n".to_vec(), vec![b'x'; 40_000]].concat());
                    }
                }
                thread::yield_now();
            }
        })
    };
    let mut dice = Dice::new();
    let callers: Vec<_> = (0..4).map(|_| (gateway.url.clone(), dice.split())).collect();
    let calls = rounds(400, 100_000) / callers.len();
    let running = callers.into_iter().map(|(url, dice)| thread::spawn(move || hang_up(&url, dice, calls)));
    let answered: usize = running.collect::<Vec<_>>().into_iter().map(|caller| caller.join().unwrap()).sum();
    assert!(answered > 0, "some stayed, and were answered");
    until("nobody waits", || ["waiting", "groups", "groups_behind"].iter().all(|name| gateway.metric(name) == 0));
    stop.store(true, Relaxed);
    answering.join().unwrap();
    until("no file is left", || files.is_empty());
    assert_eq!(gateway.metric("process_threads"), threads);
    // What a thousand of them would hold, whatever their number.
    assert!(gateway.metric("process_resident_memory_bytes") < resident + (64 << 20));
    let mut caller = gateway.get("/hello");
    let (asked, _) = files.take();
    files.answer(asked, b"200\nstill here");
    assert_eq!(caller.told().body, b"still here");
}

/// Answers how many were answered.
fn hang_up(url: &str, mut dice: Dice, calls: usize) -> usize {
    let mut answered = 0;
    for _ in 0..calls {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let path = dice.roll(8);
        let request = format!("POST /{path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789");
        let phase = dice.roll(4);
        let said = match phase {
            0 => dice.roll(request.len() as u64) as usize,
            _ => request.len(),
        };
        let _ = stream.write_all(&request.as_bytes()[..said]);
        let mut answer = [0; 64];
        match phase {
            // It waits a while, or says that it says no more.
            1 if dice.roll(2) == 0 => drop(stream.shutdown(Shutdown::Write)),
            // It leaves within the answer, or has all that it wants.
            2 | 3 if dice.roll(2) == 0 => answered += usize::from(stream.read(&mut answer).is_ok_and(|read| read > 0)),
            _ => {}
        }
    }
    answered
}

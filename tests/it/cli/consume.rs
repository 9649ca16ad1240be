//! `tilde consume`: what the command gets, what its end means, how many run, and how it stops.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Lines, Read},
    path::Path,
    process::{Child, ChildStdout},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Answer, Tilde, dice::rounds, finish};

/// Nothing that a test waits for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A broker with the subscription `s` of `a/~`, and the messages `1` to `count` in `a/1` and so on.
fn filled(count: u32, flags: &[&str]) -> Tilde {
    let broker = Tilde::in_memory();
    broker.run(&[&["subscription", "create", "s", "a/~"], flags].concat()).ok();
    for n in 1..=count {
        broker.run(&["publish", &format!("a/{n}"), &n.to_string()]).ok();
    }
    broker
}

/// Runs it for `count` messages, to its end.
#[track_caller]
fn consume(broker: &Tilde, count: u32, flags: &[&str], script: &str) -> Answer {
    let count = count.to_string();
    broker.run(&[&["consume", "s", "--count", &count], flags, &["--", "sh", "-c", script]].concat())
}

/// One that goes on in the background, and what it prints.
fn spawned(broker: &Tilde, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = broker.command(&[&["consume", "s"], args].concat()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn signal(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
}

#[track_caller]
fn stats(broker: &Tilde) -> serde_json::Value {
    broker.run(&["subscription", "show", "s", "--format", "json"]).json().remove(0)["stats"].clone()
}

/// A pipe with a name: opening it waits for the other side.
fn fifo(directory: &Path, name: &str) -> String {
    let path = directory.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_command_gets_the_message_and_its_success_acknowledges_it() {
    let broker = filled(0, &[]);
    let parts = ["--key", "k", "--id", "i-1", "--content-type", "text/plain", "-a", "ce-type=made", "-a", "b=2"];
    broker.run(&[&["publish", "a/1", "payload"][..], &parts].concat()).ok();
    let script = "cat; echo; env | grep ^TILDE_ | grep -v -e ^TILDE_BROKER= -e ^TILDE_SEQUENCE= | sort";
    let printed = consume(&broker, 1, &[], script).text();
    let expected = "payload\nTILDE_ATTEMPT=1\nTILDE_ATTRIBUTE_B=2\nTILDE_ATTRIBUTE_CE_TYPE=made\nTILDE_CONTENT_TYPE=text/plain\n\
                    TILDE_CORRELATION_ID=\nTILDE_MESSAGE_ID=i-1\nTILDE_ORDERING_KEY=k\nTILDE_REPLY_TO=\nTILDE_TOPIC=a/1\n";
    assert_eq!(printed, expected);
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["backlog_messages"]), (&1.into(), &0.into()));
}

#[test]
fn a_command_that_fails_gets_it_again_until_the_dead_letters_have_it() {
    let broker = filled(1, &["--max-attempts", "2", "--min-backoff", "0s"]);
    let answer = consume(&broker, 2, &["--consumer-id", "c-1"], "echo $TILDE_ATTEMPT; exit 3");
    assert_eq!(answer.stdout, b"1\n2\n");
    let told = answer.told(3);
    assert!(told.contains(", attempt 2: exit code 3\nerror: 2 commands failed: "), "{told}");
    let args = ["subscribe", "$dead/s", "--from", "earliest", "--count", "1", "--format", "json"];
    let dead = broker.run(&args).json().remove(0);
    let attribute = |name: &str| dead["attributes"][name].as_str().unwrap().to_owned();
    assert_eq!(dead["text"], "1");
    assert_eq!((attribute("tilde-reason"), attribute("tilde-attempts")), ("exit code 3".into(), "2".into()));
    assert_eq!((attribute("tilde-consumer"), attribute("tilde-topic")), ("c-1".into(), "a/1".into()));
}

#[test]
fn who_counts_learns_from_the_exit_code_that_some_failed() {
    let broker = filled(4, &["--max-attempts", "1"]);
    let told = consume(&broker, 3, &[], "test $(cat) != 2").told(3);
    assert!(told.contains("error: 1 command failed: "), "{told}");
    assert_eq!(stats(&broker)["acked"], 2);
    consume(&broker, 1, &[], "test $(cat) = 4").ok();
}

#[test]
fn many_run_at_the_same_time_and_each_message_once() {
    let broker = filled(20, &[]);
    // Each waits for three others: with fewer at the same time none would ever end.
    let script = "read n; echo $n; touch started.$n; until [ $(ls started.* | wc -l) -ge 4 ]; do :; done";
    let printed = consume(&broker, 20, &["--jobs", "4"], script).text();
    let mut numbers: Vec<u32> = printed.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!((&stats(&broker)["acked"], &stats(&broker)["redelivered"]), (&20.into(), &0.into()));
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    let broker = filled(1, &["--max-attempts", "1"]);
    let answer = consume(&broker, 1, &["--timeout", "100ms"], "sleep 600");
    let told = answer.told(3);
    assert!(told.contains("took longer than 100ms"), "{told}");
    let dead = broker.run(&["subscribe", "$dead/s", "--from", "earliest", "--count", "1", "--format", "json"]).json();
    assert_eq!(dead[0]["attributes"]["tilde-reason"], "took longer than 100ms");
}

#[test]
fn a_lease_is_extended_while_its_command_runs() {
    let broker = filled(1, &["--ack-deadline", "1s"]);
    // Three deadlines long: what is to be seen is that nothing happens in that time.
    let answer = consume(&broker, 1, &[], "sleep 3; echo $TILDE_ATTEMPT");
    assert_eq!((answer.stderr.as_str(), answer.stdout.as_slice()), ("", b"1\n".as_slice()));
    assert_eq!((&stats(&broker)["acked"], &stats(&broker)["redelivered"]), (&1.into(), &0.into()));
}

#[test]
fn a_command_that_cannot_be_run_costs_no_attempt() {
    let broker = filled(1, &[]);
    let told = broker.run(&["consume", "s", "--", "./no-such-program"]).told(1);
    assert!(told.contains("./no-such-program cannot be run: "), "{told}");
    assert_eq!(consume(&broker, 1, &[], "echo $TILDE_ATTEMPT").text(), "1\n");
}

#[test]
fn without_a_command_messages_are_printed() {
    let broker = filled(3, &[]);
    assert_eq!(broker.run(&["consume", "s", "--count", "2"]).text(), "a/1  1\na/2  2\n");
    let json = broker.run(&["consume", "s", "--count", "1", "--format", "json"]).json().remove(0);
    assert_eq!((&json["text"], &json["attempt"]), (&"3".into(), &1.into()), "what was given back counts no attempt");
    let (child, mut lines) = spawned(&broker, &["--format", "raw"]);
    broker.run(&["publish", "a/4", "4"]).ok();
    assert_eq!(lines.next().unwrap().unwrap(), "4");
    signal(&child);
    assert_eq!(finish(child).told(0), "");
    assert_eq!(stats(&broker)["acked"], 4);
}

#[test]
fn the_first_signal_waits_for_what_runs() {
    let broker = filled(2, &[]);
    let gate = fifo(broker.directory(), "gate");
    let (child, mut lines) = spawned(&broker, &["--", "sh", "-c", "echo begun; cat gate > /dev/null; echo done"]);
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    signal(&child);
    fs::write(&gate, "go on").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    assert!(lines.next().is_none(), "nothing more was begun");
    let told = finish(child).told(0);
    assert_eq!(told, "waiting for 1 command to end; a second signal kills what runs\n");
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["outstanding_messages"]), (&1.into(), &0.into()));
}

#[test]
fn the_second_signal_kills_what_runs_and_gives_it_back() {
    let broker = filled(1, &[]);
    fifo(broker.directory(), "gate");
    let script = "trap 'echo never' TERM; echo begun $TILDE_ATTEMPT; cat gate";
    let (mut child, mut lines) = spawned(&broker, &["--", "sh", "-c", script]);
    assert_eq!(lines.next().unwrap().unwrap(), "begun 1");
    signal(&child);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    stderr.read_line(&mut told).unwrap();
    assert!(told.starts_with("waiting for 1 command"), "{told}");
    signal(&child);
    assert!(lines.next().is_none(), "whoever could still print is dead");
    finish(child).told(0);
    told.clear();
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(told, "");
    let again = broker.run(&["subscription", "pull", "s", "--format", "json"]).json().remove(0);
    assert_eq!((&again["text"], &again["attempt"]), (&"1".into(), &1.into()), "it counts no attempt");
}

#[test]
fn comes_back_when_the_broker_does() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(directory.path(), &[]);
    broker.run(&["subscription", "create", "s", "a/~"]).ok();
    let address = broker.url.strip_prefix("http://").unwrap().to_owned();
    let (child, mut lines) = spawned(&broker, &["--count", "2", "--format", "raw"]);
    broker.run(&["publish", "a/1", "before"]).ok();
    assert_eq!(lines.next().unwrap().unwrap(), "before");
    broker.stop();
    let again = Tilde::start_in(directory.path(), &["--listen", &address]);
    again.run(&["publish", "a/1", "after"]).ok();
    assert_eq!(lines.next().unwrap().unwrap(), "after");
    let told = finish(child).told(0);
    assert!(told.starts_with("disconnected: the broker ended the stream; trying until a broker answers"), "{told}");
    assert!(told.ends_with("connected again\n"), "{told}");
}

#[test]
fn what_is_refused_says_why() {
    let broker = filled(0, &[]);
    let told = broker.run(&["consume", "nothing"]).told(1);
    assert!(told.contains("(SUBSCRIPTION_NOT_FOUND)"), "{told}");
    for (args, expected) in [
        (&["consume", "s", "cat"][..], "[-- <COMMAND>...]"),
        (&["consume", "s", "--jobs", "0", "--", "cat"], "0 is not in 1.."),
        (&["consume", "s", "--format", "raw", "--", "cat"], "cannot be used with"),
        (&["consume", "s", "--timeout", "1s"], "COMMAND"),
    ] {
        let told = broker.run(args).told(2);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn one_whose_subscription_is_deleted_fails() {
    let broker = filled(1, &[]);
    let (child, mut lines) = spawned(&broker, &["--format", "raw"]);
    assert_eq!(lines.next().unwrap().unwrap(), "1");
    broker.run(&["subscription", "delete", "s", "--yes"]).ok();
    let told = finish(child).told(1);
    assert!(told.contains("(SUBSCRIPTION_NOT_FOUND)"), "{told}");
}

/// A broker with the subscription `s` of `a`, and the numbers from 0 to `count` as messages.
fn numbered(count: usize, flags: &[&str]) -> Tilde {
    let broker = Tilde::start(&[]);
    broker.run(&[&["subscription", "create", "s", "a"], flags].concat()).ok();
    let lines: String = (0..count).map(|number| format!("{number}\n")).collect();
    broker.run_with(&["publish", "a", "--lines"], lines.as_bytes()).ok();
    broker
}

/// Sends each line with the number of whoever printed it.
fn pass_on(lines: Lines<BufReader<ChildStdout>>, who: usize, to: &Sender<(usize, String)>) {
    let to = to.clone();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| to.send((who, line))));
}

#[track_caller]
fn next(printed: &Receiver<(usize, String)>) -> (usize, String) {
    printed.recv_timeout(HANGS).expect("nothing more is printed")
}

/// Asks until it is so.
#[track_caller]
fn wait_until(broker: &Tilde, counter: &str, value: usize) {
    let began = std::time::Instant::now();
    while stats(broker)[counter] != value {
        assert!(began.elapsed() < HANGS, "{counter} is not {value}: {}", stats(broker));
    }
}

#[test]
fn three_share_the_work_and_each_message_is_settled_once() {
    let count = rounds(6_000, 100_000);
    // Slow enough that all three keep up, whatever else this machine does: how fast they are is not to be measured.
    let broker = numbered(count, &["--max-rate", "1000"]);
    // So that none is late.
    broker.run(&["subscription", "pause", "s"]).ok();
    let (send, printed) = mpsc::channel();
    let consumers: Vec<Child> = (0..3)
        .map(|who| {
            let (child, lines) = spawned(&broker, &["--format", "raw"]);
            pass_on(lines, who, &send);
            child
        })
        .collect();
    wait_until(&broker, "consumers", 3);
    broker.run(&["subscription", "resume", "s"]).ok();
    let mut shares = [0; 3];
    let mut times = BTreeMap::new();
    while shares.iter().sum::<usize>() < count {
        let (who, number) = next(&printed);
        shares[who] += 1;
        *times.entry(number.parse::<usize>().unwrap()).or_insert(0) += 1;
    }
    for child in consumers {
        signal(&child);
        assert_eq!(finish(child).told(0), "");
    }
    assert!(printed.try_recv().is_err(), "nothing comes twice");
    assert!(times.len() == count && times.values().all(|times| *times == 1), "{times:?}");
    let [least, most] = [shares.iter().min(), shares.iter().max()].map(|share| *share.unwrap());
    // Who comes first is chance, which evens out with many.
    assert!(most * 100 <= least * rounds(200, 120), "{shares:?}");
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["redelivered"]), (&count.into(), &0.into()));
    assert_eq!((&stats["backlog_messages"], &stats["outstanding_messages"]), (&0.into(), &0.into()));
}

#[test]
fn what_one_that_was_killed_held_comes_again_to_the_others_and_nothing_else_does() {
    const DONE: usize = 100;
    const HELD: usize = 50;
    let count = rounds(3_000, 100_000);
    let broker = numbered(count, &["--ack-deadline", "10m"]);
    let gate = fifo(broker.directory(), "gate");
    let script = format!("read n; echo $n; [ $n -lt {DONE} ] || cat gate");
    let window = HELD.to_string();
    let (mut killed, mut lines) = spawned(&broker, &["--max-outstanding", &window, "--", "sh", "-c", &script]);
    for number in 0..=DONE {
        assert_eq!(lines.next().unwrap().unwrap(), number.to_string());
    }
    wait_until(&broker, "acked", DONE);
    wait_until(&broker, "outstanding_messages", HELD);

    let (send, printed) = mpsc::channel();
    let others: Vec<Child> = (0..2)
        .map(|who| {
            let (child, lines) = spawned(&broker, &["--format", "json"]);
            pass_on(lines, who, &send);
            child
        })
        .collect();
    let mut attempts = BTreeMap::new();
    for n in 0..count - DONE {
        if n == (count - DONE - HELD) / 2 {
            kill_process(Pid::from_child(&killed), Signal::KILL).unwrap();
        }
        let object: serde_json::Value = serde_json::from_str(&next(&printed).1).unwrap();
        let number: usize = object["text"].as_str().unwrap().parse().unwrap();
        assert_eq!(attempts.insert(number, object["attempt"].as_u64().unwrap()), None, "{number} came twice");
    }
    killed.wait().unwrap();
    for child in others {
        signal(&child);
        assert_eq!(finish(child).told(0), "");
    }
    assert!(printed.try_recv().is_err(), "nothing more comes");
    let expected = |number| if number < DONE + HELD { 2 } else { 1 };
    assert_eq!(attempts, (DONE..count).map(|number| (number, expected(number))).collect());
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["redelivered"]), (&count.into(), &HELD.into()));
    assert_eq!((&stats["backlog_messages"], &stats["dead_lettered"]), (&0.into(), &0.into()));
    // What the killed one had begun is no child of anybody here.
    fs::write(&gate, "go on").unwrap();
}

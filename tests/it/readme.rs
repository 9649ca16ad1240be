//! The README says nothing that does not hold: its examples do what they show, its promises name tests that there are,
//! and its table of errors is whole.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use tilde::model::{Code, Reason};

use crate::support::{Tilde, ports::free_address, run, tool::tool};

/// Nothing that is waited for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);
/// Where the broker of the README listens, and its gateway.
const ADDRESS: &str = "127.0.0.1:7126";
const GATEWAY: &str = "127.0.0.1:8090";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// A fenced block of the language `console`: commands with what they print.
struct Example {
    /// The word behind the language: `serve` is the broker itself, `background` and `gateway` go on while the next ones run.
    kind: String,
    commands: Vec<Shown>,
}

/// One command, and what it is shown to print.
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(kind), false) if kind.split(' ').next() == Some("console") => {
                let kind = kind.trim_start_matches("console").trim().to_owned();
                examples.push(Example { kind, commands: Vec::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                let commands = &mut examples.last_mut().expect("one has begun").commands;
                match line.strip_prefix("$ ") {
                    Some(command) => {
                        commands.push(Shown { line: at + 1, command: command.into(), output: Vec::new() });
                    }
                    None => commands.last_mut().expect("a command comes first").output.push(line.to_owned()),
                }
            }
            _ => {}
        }
    }
    examples
}

/// Whether a line is as it is shown: blanks count as one, and `…` stands for anything.
fn is_as_shown(shown: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, line) = (words(shown), words(line));
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || shown.ends_with('…')
}

#[track_caller]
fn compare(shown: &Shown, printed: &[String]) {
    let same = shown.output.len() == printed.len();
    let same = same && shown.output.iter().zip(printed).all(|(shown, line)| is_as_shown(shown, line));
    let (expected, printed) = (shown.output.join("\n"), printed.join("\n"));
    assert!(same, "README.md, line {}: {}\nshown:\n{expected}\nprinted:\n{printed}", shown.line, shown.command);
}

/// Where the gateway listens here.
fn gateway() -> &'static str {
    static GATEWAY: LazyLock<String> = LazyLock::new(free_address);
    &GATEWAY
}

/// A shell that finds `tilde`, the tools and the broker.
fn shell(broker: &Tilde, command: &str) -> Command {
    let own = Path::new(env!("CARGO_BIN_EXE_tilde"));
    let (grpcurl, buf) = (tool("grpcurl"), tool("buf"));
    let places = [own, &*grpcurl, &*buf].map(|file| file.parent().expect("a file lies somewhere").to_owned());
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(places.into_iter().chain(env::split_paths(&path))).unwrap();
    let address = broker.url.strip_prefix("http://").expect("as it said where it listens");
    let command = command.replace("cargo run --release --", "tilde").replace(ADDRESS, address);
    let command = command.replace(GATEWAY, gateway());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{{ {command}\n}} 2>&1")]).current_dir(broker.directory());
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TILDE_")) {
        shell.env_remove(name);
    }
    shell.env("PATH", path).env("TILDE_BROKER", &broker.url);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// A command that goes on, and the lines that it prints.
struct Background<'a> {
    shown: &'a Shown,
    process: Child,
    lines: Receiver<String>,
}

impl<'a> Background<'a> {
    /// Starts it.
    fn start(broker: &Tilde, shown: &'a Shown) -> Self {
        // The shell makes way for the command, so that it is the one that is killed.
        let mut process = shell(broker, &format!("exec {}", shown.command)).spawn().unwrap();
        let (send, lines) = mpsc::channel();
        let printed = BufReader::new(process.stdout.take().unwrap());
        let as_shown = |line: String| line.replace(gateway(), GATEWAY);
        thread::spawn(move || printed.lines().map_while(Result::ok).for_each(|line| drop(send.send(as_shown(line)))));
        Background { shown, process, lines }
    }

    /// Waits until the broker has its stream, with which there are so many at least.
    fn subscribed(self, broker: &Tilde, streams: usize) -> Self {
        let begun = Instant::now();
        let open = || {
            let metrics = metrics(broker);
            let found = metrics.lines().find_map(|line| line.strip_prefix("tilde_streams{namespace=\"default\"} "));
            found.and_then(|open| open.parse().ok()).unwrap_or(0)
        };
        while open() < streams {
            assert!(begun.elapsed() < HANGS, "README.md, line {}: it opens no stream", self.shown.line);
        }
        self
    }

    #[track_caller]
    fn compare(&self) {
        let lines = self.shown.output.iter().map(|_| self.lines.recv_timeout(HANGS).expect("it prints what is shown"));
        compare(self.shown, &lines.collect::<Vec<_>>());
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

fn metrics(broker: &Tilde) -> String {
    let address = broker.url.strip_prefix("http://").expect("as it said where it listens");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANGS)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_examples_do_what_they_show() {
    let text = readme();
    let examples = examples(&text);
    let broker = Tilde::start(&[]);
    // Files of the repository lie where whoever reads it has them.
    symlink(root().join("tests"), broker.directory().join("tests")).unwrap();
    let address = broker.url.strip_prefix("http://").expect("as it said where it listens").to_owned();
    let (mut background, mut gateways) = (Vec::new(), Vec::new());
    let mut run_here = 0;
    for example in &examples {
        for shown in &example.commands {
            match &*example.kind {
                "serve" => {
                    // The tests keep their data in another directory.
                    let ready =
                        broker.ready.trim_end().replace(&address, ADDRESS).replace("in data", "in ./tilde-data");
                    compare(shown, &[ready]);
                }
                "background" => {
                    let streams = background.len() + 1;
                    background.push(Background::start(&broker, shown).subscribed(&broker, streams));
                }
                "gateway" => {
                    gateways.push(Background::start(&broker, shown));
                    gateways.iter().for_each(Background::compare);
                }
                _ => {
                    let answer = run(shell(&broker, &shown.command), None);
                    let printed = String::from_utf8(answer.stdout).unwrap().replace(&address, ADDRESS);
                    compare(shown, &printed.lines().map(str::to_owned).collect::<Vec<_>>());
                    run_here += 1;
                }
            }
        }
    }
    background.iter().for_each(Background::compare);
    assert!(run_here >= 15 && background.len() == 3 && gateways.len() == 1, "the README was read");
    drop(background);
    broker.stop();
}

/// The rows of the table under a heading: their cells.
fn table<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = text.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn every_promise_names_tests_that_there_are() {
    let listed = Command::new(env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let text = readme();
    let promises = table(&text, "What it promises");
    assert!(promises.len() > 10, "the table was read");
    for promise in promises {
        let named: Vec<&str> = promise[1].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test holds: {}", promise[0]);
        for name in named {
            assert!(tests.contains(name), "there is no test {name}, which is to hold: {}", promise[0]);
        }
    }
}

#[test]
fn the_table_of_errors_is_whole() {
    let status = |code: Code| match code {
        Code::Invalid => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::Exists => "ALREADY_EXISTS",
        Code::Conflict => "ABORTED",
        Code::Precondition => "FAILED_PRECONDITION",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Exhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::TooLate => "DEADLINE_EXCEEDED",
        Code::Internal => "INTERNAL",
    };
    let text = readme();
    let rows = table(&text, "What it refuses");
    let told: Vec<_> = rows.iter().map(|row| (row[0].trim_matches('`'), row[1])).collect();
    let there: Vec<_> = Reason::ALL.iter().map(|reason| (reason.as_str(), status(reason.code()))).collect();
    assert_eq!(told, there);
}

#[test]
fn links_lead_somewhere() {
    let docs = root().join("src/docs");
    let mut pages = vec![root().join("README.md"), root().join("tests/bench/README.md")];
    for place in [docs.join("decisions"), docs] {
        pages.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut links = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap_or_default();
            let place = page.parent().expect("a file lies somewhere").join(file);
            assert!(place.exists(), "{}: {target} leads nowhere", page.display());
            links += 1;
        }
    }
    assert!(links > 5, "the pages were read");
}

#[test]
fn what_is_shown_is_told_from_what_is_not() {
    assert!(is_as_shown("a  b …", "a b c"));
    assert!(is_as_shown("{\"t\":\"…\",\"u\":1}", "{\"t\":\"2026\",\"u\":1}"));
    assert!(is_as_shown("", ""));
    for (shown, line) in [("a", "ab"), ("…a", "ab"), ("a…b", "a"), ("b", "ab")] {
        assert!(!is_as_shown(shown, line), "{shown} {line}");
    }
}

//! A connection over HTTP/1.1 that can be spoken to byte by byte: for answers one after the other, and for streams that are
//! read as they come.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Tilde, plain::Told};

/// Nothing that is waited for takes longer, unless it hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// A connection.
pub struct Line {
    from: BufReader<TcpStream>,
    // Of the piece that is being read, in a body of pieces.
    left: usize,
    has_ended: bool,
}

impl Line {
    /// To a URL's host.
    #[track_caller]
    pub fn to(url: &str) -> Line {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        stream.set_nodelay(true).unwrap();
        Line { from: BufReader::new(stream), left: 0, has_ended: false }
    }

    /// Says these bytes. Whoever refuses early reads no further.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.from.get_mut().write_all(bytes.as_ref());
    }

    /// Whether these bytes could still be said.
    pub fn can_say(&mut self, bytes: &[u8]) -> bool {
        self.from.get_mut().write_all(bytes).is_ok()
    }

    /// Says a request with a body.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let says_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = if says_host { "" } else { "host: localhost\r\n" };
        let mut head = format!("{method} {path} HTTP/1.1\r\n{host}");
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        self.say([format!("{head}\r\n").as_bytes(), body].concat());
    }

    /// Says that nothing more is said.
    pub fn hang_up(&mut self) {
        self.from.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// The head of the next answer; None if the connection ends.
    pub fn head(&mut self) -> Option<Told> {
        let mut line = || {
            let mut line = Vec::new();
            let length = self.from.read_until(b'\n', &mut line).unwrap_or_default();
            (length > 0).then(|| String::from_utf8(line).expect("heads are text").trim_end().to_owned())
        };
        let mut told = Told { first: line()?, ..Told::default() };
        while let Some(header) = line().filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(':').expect("a header has a name");
            told.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        (self.left, self.has_ended) = (0, false);
        Some(told)
    }

    /// The next answer, in full; None if the connection ends.
    pub fn answer(&mut self) -> Option<Told> {
        let mut told = self.head()?;
        if let Some(length) = told.header("content-length") {
            told.body.resize(length.parse().unwrap(), 0);
            self.from.read_exact(&mut told.body).ok()?;
        } else if told.header("transfer-encoding").is_some() {
            while let Some(byte) = self.byte() {
                told.body.push(byte);
            }
            assert!(self.has_ended, "the connection broke within an answer");
        }
        Some(told)
    }

    /// The next answer, which must come.
    #[track_caller]
    pub fn told(&mut self) -> Told {
        self.answer().expect("the connection ended without an answer")
    }

    /// Whether nothing more comes: it was closed.
    pub fn is_closed(&mut self) -> bool {
        self.from.fill_buf().map_or(true, <[u8]>::is_empty)
    }

    /// The next line of a body of pieces; None where it ends.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while let Some(byte) = self.byte() {
            if byte == b'\n' {
                return Some(String::from_utf8(line).expect("streams are text"));
            }
            line.push(byte);
        }
        assert!(line.is_empty(), "the stream ended within a line");
        None
    }

    /// Whether a body of pieces came to its end, instead of breaking off.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn byte(&mut self) -> Option<u8> {
        if self.has_ended {
            return None;
        }
        if self.left == 0 {
            let mut size = String::new();
            self.from.read_line(&mut size).ok().filter(|length| *length > 0)?;
            self.left = usize::from_str_radix(size.trim_end(), 16).expect("a piece has a length");
            if self.left == 0 {
                self.from.read_line(&mut size).ok()?;
                self.has_ended = true;
                return None;
            }
        }
        let mut byte = [0];
        self.from.read_exact(&mut byte).ok()?;
        self.left -= 1;
        if self.left == 0 {
            self.from.read_line(&mut String::new()).ok()?;
        }
        Some(byte[0])
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` if it has no name.
    pub name: String,
    pub id: String,
    pub data: String,
    pub retry: String,
}

impl Event {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A stream of server-sent events, read strictly: one line a field, an empty line behind each event.
pub struct Events(pub Line);

impl Events {
    /// Asks for one, which must begin.
    #[track_caller]
    pub fn open(url: &str, query: &str, headers: &[(&str, &str)]) -> Events {
        let mut line = Line::to(url);
        line.request("GET", &format!("/v1/messages?{query}"), headers, b"");
        let head = line.head().expect("the stream begins");
        assert_eq!((head.status(), head.header("content-type")), (200, Some("text/event-stream")), "{head:?}");
        Events(line)
    }

    /// The next event; None where the stream ends.
    #[track_caller]
    pub fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: "message".to_owned(), ..Event::default() };
        let mut is_empty = true;
        loop {
            let line = self.0.line()?;
            let field = line.split_once(": ");
            match (line.as_str(), field) {
                ("", _) => {
                    assert!(!is_empty, "an event has something in it");
                    return Some(event);
                }
                (_, Some(("id", id))) => event.id = id.to_owned(),
                (_, Some(("event", name))) => event.name = name.to_owned(),
                (_, Some(("data", data))) => event.data = data.to_owned(),
                (_, Some(("retry", retry))) => event.retry = retry.to_owned(),
                _ => panic!("no field of an event: {line:?}"),
            }
            is_empty = false;
        }
    }

    /// The next event of this name; what comes before it must have one of the others.
    #[track_caller]
    pub fn wait(&mut self, name: &str, others: &[&str]) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended, and {name} was awaited"));
            if event.name == name {
                return event;
            }
            assert!(others.contains(&event.name.as_str()), "{event:?} came, and {name} was awaited");
        }
    }

    /// The next message.
    #[track_caller]
    pub fn message(&mut self) -> Value {
        self.wait("message", &["started", "caughtUp", "heartbeat"]).json()
    }
}

/// Asks once, on a connection of its own.
#[track_caller]
pub fn ask(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
    let mut line = Line::to(url);
    line.request(method, path, headers, body);
    let told = if method == "HEAD" { line.head() } else { line.answer() };
    told.unwrap_or_else(|| panic!("{method} {path}: the connection ended without an answer"))
}

/// A count that the broker tells of itself.
#[track_caller]
pub fn metric(tilde: &Tilde, name: &str) -> u64 {
    let page = ask(&tilde.url, "GET", "/metrics", &[], b"").text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
}

/// Waits until something holds, which is asked again and again.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < HANGS, "it never came: {what}");
        std::thread::yield_now();
    }
}

/// A refusal as RFC 9457 tells it, with this status and reason. Answers what it says.
#[track_caller]
pub fn assert_problem(told: &Told, status: u16, reason: &str) -> Value {
    assert_eq!(told.status(), status, "{}", told.text());
    assert_eq!(told.header("content-type"), Some("application/problem+json"), "{}", told.text());
    let problem = told.json();
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["reason"].as_str().unwrap_or_default(), reason, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    assert!(problem["title"].is_string() && problem["type"] == "about:blank", "{problem}");
    problem
}

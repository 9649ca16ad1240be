//! A client and a receiver that speak the plainest HTTP, on threads of their own.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Nothing that is waited for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// What was answered, or received.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The status, or the method and the path.
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Told {
    /// The status of an answer.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{}", self.first))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks once, on a connection of its own. `url` is as in `http://127.0.0.1:80/path`.
#[track_caller]
pub fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(HANGS)).unwrap();
    let mut head = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let says_length = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !says_length && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
        head += &format!("content-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // Whoever refuses early reads no further.
    let _ = stream.write_all(body);
    let has_body = method != "HEAD";
    read(&mut BufReader::new(stream), has_body).expect("an answer")
}

/// The same with JSON.
#[track_caller]
pub fn ask_json(method: &str, url: &str, body: &str) -> Told {
    ask(method, url, &[("content-type", "application/json")], body.as_bytes())
}

/// Reads one message; None if nothing comes any more.
fn read(from: &mut impl BufRead, has_body: bool) -> Option<Told> {
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let mut told = Told { first: line()?, ..Told::default() };
    while let Some(header) = line().filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':')?;
        told.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = told.header("content-length").and_then(|length| length.parse::<usize>().ok());
    match length {
        _ if !has_body => {}
        Some(length) => {
            told.body.resize(length, 0);
            from.read_exact(&mut told.body).ok()?;
        }
        None if told.first.starts_with("HTTP") => drop(from.read_to_end(&mut told.body)),
        None => {}
    }
    Some(told)
}

/// Takes what is sent to it. Dropping it closes its port.
pub struct Receiver {
    pub url: String,
    status: Arc<AtomicU16>,
    received: mpsc::Receiver<Told>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    listener: TcpListener,
}

impl Receiver {
    /// One that answers with this status.
    pub fn start(status: u16) -> Self {
        Receiver::start_at("127.0.0.1:0", status)
    }

    /// The same at an address.
    pub fn start_at(address: &str, status: u16) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("http://{}/event", listener.local_addr().unwrap());
        let (send, received) = mpsc::channel();
        let (status, open) = (Arc::new(AtomicU16::new(status)), Arc::default());
        let (accepting, answers, all) = (listener.try_clone().unwrap(), Arc::clone(&status), Arc::clone(&open));
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (send, status) = (send.clone(), Arc::clone(&answers));
                let all: &Mutex<Vec<TcpStream>> = &all;
                all.lock().unwrap().push(stream.try_clone().unwrap());
                thread::spawn(move || serve(stream, &status, &send));
            }
        });
        Receiver { url, status, received, open, listener }
    }

    /// Answers with this status from now on.
    pub fn set(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    /// The next that it was sent.
    #[track_caller]
    pub fn next(&self) -> Told {
        self.received.recv_timeout(HANGS).expect("nothing was sent to it")
    }

    /// What has come and was not asked for yet.
    pub fn rest(&self) -> Vec<Told> {
        self.received.try_iter().collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Its thread waits for a connection.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        self.open.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

fn serve(stream: TcpStream, status: &AtomicU16, send: &mpsc::Sender<Told>) {
    let mut answers = stream.try_clone().unwrap();
    let mut from = BufReader::new(stream);
    while let Some(told) = read(&mut from, true) {
        let status = status.load(SeqCst);
        let answer = format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\n\r\n");
        if send.send(told).is_err() || answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

//! NATS, with its stream store or without. <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use serde_json::{Value, json};
use tilde::clock::{Clock, SystemClock};

use super::{
    link::{Dial, Link, Reader, forget, number},
    options::Args,
    system::{Back, From, Publisher, Subscriber, System},
};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"tilde-bench\"}\r\nPING\r\n";
const STREAM: &str = "BENCH";

/// NATS.
pub struct Nats {
    address: String,
    stored: bool,
}

impl Nats {
    /// Without a store.
    pub fn core(args: &Args) -> Nats {
        Nats { address: args.address.clone(), stored: false }
    }

    /// With its store.
    pub fn jetstream(args: &Args) -> Nats {
        Nats { address: args.address.clone(), stored: true }
    }

    fn dial(&self) -> Result<Dial> {
        let mut dial = Dial::connect(&self.address)?;
        dial.send(CONNECT)?;
        while dial.line()? != "PONG" {}
        Ok(dial)
    }

    /// Asks the store, and waits for its answer.
    fn ask(&self, subject: &str, body: &Value) -> Result<()> {
        let (mut dial, body) = (self.dial()?, body.to_string());
        dial.send(format!("SUB _INBOX.ask 1\r\nPUB $JS.API.{subject} _INBOX.ask {}\r\n{body}\r\n", body.len()))?;
        let head = dial.line()?;
        ensure!(head.starts_with("MSG "), "the server answered {head:?}");
        let answer: Value = serde_json::from_str(&dial.line()?)?;
        ensure!(answer.get("error").is_none(), "the server refused {subject}: {}", answer["error"]);
        Ok(())
    }
}

impl System for Nats {
    type Publisher = Publish;
    type Subscriber = Deliveries;

    fn prepare(&self) -> Result<()> {
        let config = json!({ "name": STREAM, "subjects": ["bench.>"], "storage": "file", "num_replicas": 1 });
        match self.stored {
            true => self.ask(&format!("STREAM.CREATE.{STREAM}"), &config),
            false => Ok(()),
        }
    }

    fn publisher(&self) -> Result<(Link, Publish)> {
        let mut dial = self.dial()?;
        let inbox = self.stored.then(inbox);
        if let Some(inbox) = &inbox {
            dial.send(format!("SUB {inbox} 1\r\n"))?;
        }
        Ok((dial.link()?, Publish { inbox, unflushed: 0, flushes: VecDeque::new() }))
    }

    fn subscriber(&self, patterns: &[Vec<String>], from: From) -> Result<(Link, Deliveries)> {
        let mut dial = self.dial()?;
        for (n, patterns) in patterns.iter().enumerate() {
            if self.stored {
                // A subject that only this consumer delivers to; the consumer needs somebody who listens.
                let inbox = inbox();
                dial.send(format!("SUB {inbox} {n}\r\nPING\r\n"))?;
                while dial.line()? != "PONG" {}
                let deliver = if from == From::Now { "new" } else { "all" };
                let config = json!({
                    "deliver_subject": inbox, "deliver_policy": deliver, "ack_policy": "none",
                    "filter_subjects": patterns, "mem_storage": true, "num_replicas": 1,
                });
                let body = json!({ "stream_name": STREAM, "config": config });
                self.ask(&format!("CONSUMER.CREATE.{STREAM}"), &body)?;
            } else {
                for (m, pattern) in patterns.iter().enumerate() {
                    dial.send(format!("SUB {pattern} {}\r\n", n * 10_000 + m))?;
                }
            }
        }
        dial.send("PING\r\n")?;
        // What a consumer delivers from the beginning comes before this answer, so it is left where it is.
        if from == From::Now {
            while dial.line()? != "PONG" {}
        }
        Ok((dial.link()?, Deliveries))
    }

    fn subscribers_on_one(&self) -> usize {
        usize::MAX
    }

    fn keeps(&self) -> bool {
        self.stored
    }

    fn topic(&self, number: u64) -> String {
        format!("bench.{number}.a")
    }

    fn pattern(&self, number: u64) -> String {
        format!("bench.{number}.>")
    }

    /// Without a store nothing is answered: a PONG for each buffer that was written says that it was read, and more than
    /// one buffer has to be under way.
    fn in_flight(&self, asked: u64) -> u64 {
        if self.stored || asked == 1 { asked } else { 16 * asked }
    }
}

/// A subject that nobody else has.
fn inbox() -> String {
    format!("_INBOX.{:016x}", SystemClock.random())
}

/// Publishes. With a store each is answered, in order; without, a PONG answers for all that went before its PING.
pub struct Publish {
    /// Where the store answers.
    inbox: Option<String>,
    /// Messages behind the last PING.
    unflushed: u64,
    /// Messages before each PING that has not come back.
    flushes: VecDeque<u64>,
}

impl Publisher for Publish {
    fn put(&mut self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(topic.as_bytes());
        if let Some(inbox) = &self.inbox {
            out.push(b' ');
            out.extend_from_slice(inbox.as_bytes());
        }
        out.push(b' ');
        digits(payload.len(), out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
        self.unflushed += 1;
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.inbox.is_none() {
            out.extend_from_slice(b"PING\r\n");
            self.flushes.push_back(std::mem::take(&mut self.unflushed));
        }
    }

    fn answers(&mut self, input: &mut BytesMut) -> Result<u64> {
        let (mut answered, mut done) = (0, 0);
        let mut reader = Reader::new(input);
        while let Some(line) = reader.line() {
            match line.first() {
                Some(b'M') => {
                    let Some(answer) = reader.block(length(line)?) else { break };
                    ensure!(answer.starts_with(b"{\"stream\""), "refused: {}", String::from_utf8_lossy(answer));
                    answered += 1;
                }
                _ if line == b"PONG" => answered += self.flushes.pop_front().context("a PONG without a PING")?,
                // A publisher of a few seconds is not missed if it does not answer one.
                _ if line == b"PING" || line.starts_with(b"INFO") => {}
                _ => bail!("the server said {:?}", String::from_utf8_lossy(line)),
            }
            done = reader.at();
        }
        forget(input, done);
        Ok(answered)
    }
}

/// Deliveries: `MSG subject sid [reply] length`.
pub struct Deliveries;

impl Subscriber for Deliveries {
    fn take(&mut self, input: &mut BytesMut, back: &mut Back, each: &mut dyn FnMut(&[u8])) -> Result<u64> {
        let (mut came, mut done) = (0, 0);
        let mut reader = Reader::new(input);
        while let Some(line) = reader.line() {
            match line.first() {
                Some(b'M') => {
                    let Some(payload) = reader.block(length(line)?) else { break };
                    each(payload);
                    came += 1;
                }
                _ if line == b"PING" => back.extend_from_slice(b"PONG\r\n"),
                _ if line == b"PONG" || line.starts_with(b"INFO") => {}
                _ => bail!("the server said {:?}", String::from_utf8_lossy(line)),
            }
            done = reader.at();
        }
        forget(input, done);
        Ok(came)
    }
}

/// The last word of such a line.
fn length(line: &[u8]) -> Result<usize> {
    number(line.rsplit(|&byte| byte == b' ').next().unwrap_or_default())
}

/// Writes a number.
pub fn digits(number: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{number}").expect("a vector takes all");
}

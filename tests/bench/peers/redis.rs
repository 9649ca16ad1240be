//! Redis, with its streams or with PUBLISH. <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;

use super::{
    link::{Dial, Link, Reader, forget, number},
    nats::digits,
    options::Args,
    system::{Back, From, Publisher, Subscriber, System},
};

/// Entries that one XREAD brings, at most.
const ENTRIES: &str = "1000";

/// Redis.
pub struct Redis {
    address: String,
    stored: bool,
}

impl Redis {
    /// PUBLISH.
    pub fn pubsub(args: &Args) -> Redis {
        Redis { address: args.address.clone(), stored: false }
    }

    /// XADD.
    pub fn streams(args: &Args) -> Redis {
        Redis { address: args.address.clone(), stored: true }
    }
}

impl System for Redis {
    type Publisher = Publish;
    type Subscriber = Deliveries;

    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn publisher(&self) -> Result<(Link, Publish)> {
        Ok((Dial::connect(&self.address)?.link()?, Publish { stored: self.stored }))
    }

    fn subscriber(&self, patterns: &[Vec<String>], from: From) -> Result<(Link, Deliveries)> {
        let [patterns] = patterns else { bail!("one connection is one subscriber") };
        let mut dial = Dial::connect(&self.address)?;
        if self.stored {
            let [stream] = &patterns[..] else { bail!("streams of Redis have no patterns") };
            let last = if from == From::Now { "$" } else { "0" };
            dial.send(read(stream, last))?;
            let stream = stream.clone();
            return Ok((dial.link()?, Deliveries::Streams { stream, left: 0, last: String::new() }));
        }
        // One topic is found by its hash, a pattern is compared with every topic.
        let is_pattern = patterns.iter().any(|pattern| pattern.ends_with('*'));
        let mut words = vec![if is_pattern { "PSUBSCRIBE" } else { "SUBSCRIBE" }];
        words.extend(patterns.iter().map(String::as_str));
        dial.send(command(&words))?;
        // For each: *3, $n, "subscribe", $n, topic, :count
        for _ in 0..6 * patterns.len() {
            dial.line()?;
        }
        Ok((dial.link()?, Deliveries::Pubsub))
    }

    fn subscribers_on_one(&self) -> usize {
        1
    }

    fn keeps(&self) -> bool {
        self.stored
    }

    fn topic(&self, number: u64) -> String {
        match self.stored {
            true => "bench".into(),
            false => format!("bench/{number}/a"),
        }
    }

    fn pattern(&self, number: u64) -> String {
        match self.stored {
            true => "bench".into(),
            false => format!("bench/{number}/*"),
        }
    }
}

/// Publishes; each is answered, in order.
pub struct Publish {
    stored: bool,
}

impl Publisher for Publish {
    fn put(&mut self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        match self.stored {
            true => {
                out.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n");
                bulk(topic.as_bytes(), out);
                out.extend_from_slice(b"$1\r\n*\r\n$1\r\nd\r\n");
            }
            false => {
                out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n");
                bulk(topic.as_bytes(), out);
            }
        }
        bulk(payload, out);
    }

    fn answers(&mut self, input: &mut BytesMut) -> Result<u64> {
        let (mut answered, mut done) = (0, 0);
        let mut reader = Reader::new(input);
        while let Some(line) = reader.line() {
            match line.split_first() {
                Some((b':', _)) => {}
                Some((b'$', length)) => {
                    if reader.block(number(length)?).is_none() {
                        break;
                    }
                }
                _ => bail!("the server said {:?}", String::from_utf8_lossy(line)),
            }
            answered += 1;
            done = reader.at();
        }
        forget(input, done);
        Ok(answered)
    }
}

/// Deliveries, pushed or asked for.
pub enum Deliveries {
    /// `message topic payload`, or `pmessage pattern topic payload`.
    Pubsub,
    /// An answer to XREAD is read entry by entry; behind the last the next one is asked for.
    Streams {
        /// Which.
        stream: String,
        /// Entries of this answer that have not come yet.
        left: usize,
        /// The last entry's id.
        last: String,
    },
}

impl Subscriber for Deliveries {
    fn take(&mut self, input: &mut BytesMut, back: &mut Back, each: &mut dyn FnMut(&[u8])) -> Result<u64> {
        let (mut came, mut done) = (0, 0);
        let mut reader = Reader::new(input);
        loop {
            match self {
                Deliveries::Pubsub => match message(&mut reader)? {
                    Some(payload) => each(payload),
                    None => break,
                },
                Deliveries::Streams { left: left @ 0, .. } => {
                    let Some(entries) = answer(&mut reader)? else { break };
                    *left = entries;
                    done = reader.at();
                    continue;
                }
                Deliveries::Streams { stream, left, last } => {
                    let Some((id, payload)) = entry(&mut reader)? else { break };
                    each(payload);
                    *left -= 1;
                    if *left == 0 {
                        *last = String::from_utf8_lossy(id).into_owned();
                        back.extend(read(stream, last));
                    }
                }
            }
            came += 1;
            done = reader.at();
        }
        forget(input, done);
        Ok(came)
    }
}

/// What PUBLISH brought: the last of three or four.
fn message<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>> {
    let Some(parts) = array(reader)? else { return Ok(None) };
    ensure!(parts == 3 || parts == 4, "the server sent a message of {parts} parts");
    for _ in 1..parts {
        if bulk_of(reader)?.is_none() {
            return Ok(None);
        }
    }
    bulk_of(reader)
}

/// The head of an answer to XREAD: one stream, its name, and how many entries follow.
fn answer(reader: &mut Reader<'_>) -> Result<Option<usize>> {
    for expected in [1, 2] {
        match array(reader)? {
            Some(length) => ensure!(length == expected, "the server answered for {length} streams"),
            None => return Ok(None),
        }
    }
    match bulk_of(reader)? {
        Some(_) => array(reader),
        None => Ok(None),
    }
}

/// An entry: its id, and its one field with its value.
fn entry<'a>(reader: &mut Reader<'a>) -> Result<Option<(&'a [u8], &'a [u8])>> {
    let Some(_) = array(reader)? else { return Ok(None) };
    let Some(id) = bulk_of(reader)? else { return Ok(None) };
    let Some(_) = array(reader)? else { return Ok(None) };
    let Some(_) = bulk_of(reader)? else { return Ok(None) };
    Ok(bulk_of(reader)?.map(|payload| (id, payload)))
}

fn array(reader: &mut Reader<'_>) -> Result<Option<usize>> {
    let Some(line) = reader.line() else { return Ok(None) };
    let length = line.strip_prefix(b"*");
    let length = length.with_context(|| format!("the server said {:?}", String::from_utf8_lossy(line)))?;
    number(length).map(Some)
}

fn bulk_of<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>> {
    let Some(line) = reader.line() else { return Ok(None) };
    let length = line.strip_prefix(b"$");
    let length = length.with_context(|| format!("the server said {:?}", String::from_utf8_lossy(line)))?;
    Ok(reader.block(number(length)?))
}

fn read(stream: &str, last: &str) -> Vec<u8> {
    command(&["XREAD", "COUNT", ENTRIES, "BLOCK", "0", "STREAMS", stream, last])
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bulk(word.as_bytes(), &mut out));
    out
}

fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    digits(bytes.len(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

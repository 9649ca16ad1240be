//! One connection: opened by blocking calls, then driven by the runtime. Never knows what the bytes mean.

use std::{
    future::poll_fn,
    io::{Read, Write},
    net::TcpStream as Blocking,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use tilde::apps::bench::{
    latencies::Gathered,
    schedule::{Alarm, Schedule},
    timed::Timed,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time,
};

use super::system::{Publisher, Subscriber};

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 << 10;

/// Bytes that are read at once, at most.
const READ: usize = 256 << 10;

/// A server that says nothing for so long is not there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is being opened, or is asked something.
pub struct Dial {
    stream: Blocking,
    input: BytesMut,
}

impl Dial {
    /// Connects.
    pub fn connect(address: &str) -> Result<Dial> {
        let stream = Blocking::connect(address).with_context(|| format!("nobody answers at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Dial { stream, input: BytesMut::new() })
    }

    /// Sends.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref())?)
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line = self.input.split_to(end + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer)?;
            ensure!(read > 0, "the server closed the connection");
            self.input.extend_from_slice(&buffer[..read]);
        }
    }

    /// From now on the runtime drives it.
    pub fn link(self) -> Result<Link> {
        self.stream.set_read_timeout(None)?;
        self.stream.set_nonblocking(true)?;
        Ok(Link { stream: TcpStream::from_std(self.stream)?, input: self.input })
    }
}

/// A connection.
pub struct Link {
    stream: TcpStream,
    input: BytesMut,
}

/// What a publisher sends.
pub struct Messages {
    /// They take turns.
    pub topics: Rc<[String]>,
    /// Bytes of payload.
    pub size: usize,
}

/// When messages may go.
pub enum Pace {
    /// As long as not too many are unanswered.
    Closed {
        /// So many.
        in_flight: u64,
        /// Until then.
        until: Until,
        /// And not too far ahead of those who receive.
        lead: Option<Lead>,
    },
    /// When they are due.
    Open(Schedule, Alarm),
}

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    /// Then.
    Time(Instant),
    /// After so many.
    Count(u64),
}

/// How far the publisher may be ahead.
#[derive(Clone)]
pub struct Lead {
    /// Messages, in the receivers' mean.
    pub most: u64,
    /// How many receive each message.
    pub copies: u64,
    /// What has arrived.
    pub arrived: Arc<AtomicU64>,
    /// Told of every arrival.
    pub moved: Rc<Notify>,
}

impl Lead {
    fn room(&self, sent: u64) -> u64 {
        (self.arrived.load(Relaxed) / self.copies + self.most).saturating_sub(sent)
    }
}

impl Pace {
    /// How many may go now; none at the end.
    fn room(&self, sent: u64, answered: u64, now: Instant) -> Option<u64> {
        match self {
            Pace::Closed { in_flight, until, lead } => {
                let left = match *until {
                    Until::Time(end) => {
                        if now < end {
                            u64::MAX
                        } else {
                            0
                        }
                    }
                    Until::Count(count) => count - sent,
                };
                let room = (*in_flight + answered - sent).min(left);
                let room = lead.as_ref().map_or(room, |lead| room.min(lead.room(sent)));
                (left > 0).then_some(room)
            }
            Pace::Open(schedule, _) => {
                let left = schedule.count() - sent;
                let due = (0..left).take_while(|n| schedule.due(sent + n) <= now).count();
                (left > 0).then_some(due as u64)
            }
        }
    }

    /// Until more may go though nothing was answered.
    async fn wait(&mut self, sent: u64) {
        match self {
            Pace::Open(schedule, alarm) => {
                let due = schedule.due(sent.min(schedule.count()));
                poll_fn(|context| alarm.poll(due, context)).await;
            }
            Pace::Closed { lead: Some(lead), .. } => lead.moved.notified().await,
            Pace::Closed { .. } => std::future::pending().await,
        }
    }
}

impl Link {
    /// Publishes until the pace ends and all is answered; tells how many that were, and when the last was answered.
    pub async fn publish(
        self,
        mut publisher: impl Publisher,
        messages: Messages,
        mut pace: Pace,
        mut timed: Timed,
        latencies: Gathered,
    ) -> Result<(u64, Instant)> {
        let Link { stream, mut input } = self;
        let (mut read, mut write) = stream.into_split();
        let (mut sent, mut answered, mut out, mut start) = (0, 0, Vec::with_capacity(2 * GATHERED), 0);
        let mut payload = vec![b'x'; messages.size];
        loop {
            let room = pace.room(sent, answered, Instant::now());
            if start == out.len() {
                out.clear();
                start = 0;
                let first = sent;
                while sent - first < room.unwrap_or(0) && out.len() < GATHERED {
                    payload[..8].copy_from_slice(&sent.to_le_bytes());
                    publisher.put(&messages.topics[(sent % messages.topics.len() as u64) as usize], &payload, &mut out);
                    sent += 1;
                }
                if sent > first {
                    publisher.flush(&mut out);
                    timed.sent(first, sent - first);
                }
            }
            if room.is_none() && start == out.len() && answered == sent {
                return Ok((sent, Instant::now()));
            }
            tokio::select! {
                biased;
                took = read.read_buf(&mut input) => {
                    ensure!(took? > 0, "the server closed the connection");
                    let more = publisher.answers(&mut input)?;
                    timed.answered(answered, more, Instant::now(), &mut latencies.lock());
                    answered += more;
                }
                took = write.write(&out[start..]), if start < out.len() => start += took?,
                () = pace.wait(sent), if room.is_some() && start == out.len() => {}
                () = time::sleep(PATIENCE) => bail!("{} messages were not answered", sent - answered),
            }
        }
    }

    /// Receives until so many have come; tells `each` the payload, and when it came.
    pub async fn receive(
        mut self,
        mut subscriber: impl Subscriber,
        count: u64,
        mut arrived: impl FnMut(u64),
        mut each: impl FnMut(&[u8], Instant),
    ) -> Result<()> {
        let (mut back, mut came) = (Vec::new(), 0);
        loop {
            let now = Instant::now();
            let more = subscriber.take(&mut self.input, &mut back, &mut |payload| each(payload, now))?;
            came += more;
            if more > 0 {
                arrived(more);
            }
            if !back.is_empty() {
                self.stream.write_all(&back).await?;
                back.clear();
            }
            if came >= count {
                return Ok(());
            }
            self.input.reserve(READ);
            let took = self.stream.read_buf(&mut self.input).await?;
            ensure!(took > 0, "the server closed the connection of a subscriber");
        }
    }
}

/// Reads lines and lengths, and forgets what was read only when the whole was there.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Of what has come so far.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// The next line without its end (`\r\n`); none if it is not there yet.
    pub fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        self.at += end + 1;
        Some(&rest[..end.saturating_sub(1)])
    }

    /// So many bytes and the end of a line behind them.
    pub fn block(&mut self, length: usize) -> Option<&'a [u8]> {
        let block = self.bytes.get(self.at..self.at + length)?;
        self.bytes.get(self.at + length + 1)?;
        self.at += length + 2;
        Some(block)
    }

    /// How much was read.
    pub fn at(&self) -> usize {
        self.at
    }
}

/// The whole number that these digits are.
pub fn number(digits: &[u8]) -> Result<usize> {
    ensure!(!digits.is_empty(), "the server sent an empty number");
    digits.iter().try_fold(0usize, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + usize::from(digit - b'0')),
        _ => bail!("the server sent {:?} as a number", String::from_utf8_lossy(digits)),
    })
}

/// Takes so much off what came.
pub fn forget(input: &mut BytesMut, length: usize) {
    input.advance(length);
}

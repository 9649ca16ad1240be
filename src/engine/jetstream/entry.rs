//! An entry of a stream: a run of records of one topic, which NATS holds as one message on the topic's subject. The
//! payload is the records as they travel (each is field 1 of a `tilde.v1.SubscribeResponse`, so any run of them is one);
//! what is said of them stands in headers. Never asks NATS for anything.
//!
//! | header | says |
//! |---|---|
//! | `Nats-Msg-Id` | who wrote it, in which of his blocks, and which entry of the block it is: `WRITER.BLOCK.PART` |
//! | `Tilde-Run` | the first sequence, the number of records, how many messages its topic has had with these and how many bytes; then `e` if some expire, `i` if some have a message id |
//! | `Tilde-Numbers` | the runs of producers' numbers (see `runs`), in base64; absent if there are none |

use async_nats::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;

use crate::{
    engine::{producers::Run, runs},
    model::{ProducerName, Record, Records, Sequence},
};

const RUN: &str = "Tilde-Run";
const NUMBERS: &str = "Tilde-Numbers";
/// The most records that an entry holds. So a position, times this, is no lower than any sequence before it.
pub const MOST: u64 = 1_000;

/// A run of records of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the stream; zero until it has one.
    pub position: u64,
    /// Who wrote it.
    pub author: Author,
    /// The records, with their places.
    pub records: Bytes,
    /// The first record's sequence; the others follow without holes.
    pub first: Sequence,
    /// How many; never none.
    pub count: u64,
    /// What its topic has had, with these.
    pub totals: Totals,
    /// Some may expire.
    pub expires: bool,
    /// Some have a message id that counts.
    pub identified: bool,
    /// The numbers that producers gave them.
    pub numbers: Vec<(ProducerName, Run)>,
}

/// Which entry it is, of all that were ever written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// Drawn at random by each writer.
    pub writer: u64,
    /// Which of his blocks.
    pub block: u64,
    /// Which entry of the block.
    pub part: u32,
}

/// All that a topic ever had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Entry {
    /// The last record's sequence.
    pub fn last(&self) -> Sequence {
        self.first.plus(self.count - 1)
    }

    /// The first record.
    pub fn head(&self) -> Record<'_> {
        self.iter().next().expect("an entry is never empty")
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        Records::new(&self.records).map_while(Result::ok)
    }

    /// Its headers.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, self.author.to_string().as_str());
        let Totals { messages, bytes } = self.totals;
        let mut run = format!("{} {} {messages} {bytes}", self.first.0, self.count);
        run.push_str(if self.expires { " e" } else { " " });
        run.push_str(if self.identified { "i" } else { "" });
        headers.insert(RUN, run.as_str());
        if !self.numbers.is_empty() {
            let mut numbers = Vec::new();
            runs::encode(self.numbers.iter().map(|(producer, run)| (producer, run)), self.first, &mut numbers);
            headers.insert(NUMBERS, BASE64_STANDARD.encode(numbers).as_str());
        }
        headers
    }

    /// What stands at a position; None if it was not written by a broker.
    pub fn read(position: u64, headers: &HeaderMap, records: Bytes) -> Option<Self> {
        let author = Author::parse(headers.get(header::NATS_MESSAGE_ID)?.as_str())?;
        let mut run = headers.get(RUN)?.as_str().split(' ');
        let mut number = || run.next()?.parse::<u64>().ok();
        let (first, count) = (Sequence(number()?), number()?);
        let totals = Totals { messages: number()?, bytes: number()? };
        let flags = run.next().unwrap_or_default();
        let (expires, identified) = (flags.contains('e'), flags.contains('i'));
        let numbers = match headers.get(NUMBERS) {
            None => Vec::new(),
            Some(numbers) => runs::decode(&BASE64_STANDARD.decode(numbers.as_str()).ok()?, first)?,
        };
        let head = Records::new(&records).next()?.ok()?;
        let is_sound = (1..=MOST).contains(&count) && head.sequence() == first && first > Sequence::ZERO;
        is_sound.then_some(Entry { position, author, records, first, count, totals, expires, identified, numbers })
    }
}

impl Author {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let writer = u64::from_str_radix(parts.next()?, 16).ok()?;
        let (block, part) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Author { writer, block, part })
    }
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}.{}.{}", self.writer, self.block, self.part)
    }
}

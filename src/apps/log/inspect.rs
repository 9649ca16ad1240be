//! `tilde log inspect`: what lies in the files.

use std::io::{self, Write};

use prost::Message as _;
use serde::Serialize;

use super::{Examined, Place, examine, time};
use crate::{
    apps::{
        message::Form,
        output::{self, Column, Format, Table},
    },
    engine::log::{
        examine::{self, IndexState, State},
        frame::Frame,
        io::ReadOnly,
    },
    model::Records,
    pb::v1::Message,
};

/// Print what lies in the files: the segments of each namespace, their blocks, or their messages
///
/// Nothing is changed. Where a file is damaged, what can be read of it is printed; `tilde log verify` tells the rest.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print the blocks: what was written at a time
    #[arg(long, conflicts_with = "messages")]
    blocks: bool,

    /// Print the messages as `tilde subscribe` does, also those that have expired or were purged
    #[arg(long)]
    messages: bool,
}

/// Runs it.
pub fn run(args: &Args, place: &Place) -> anyhow::Result<()> {
    let directory = place.open()?;
    for name in place.names(&directory, &ReadOnly)? {
        let examined = examine(&directory, &ReadOnly, &name)?;
        match (args.blocks, args.messages) {
            (true, _) => blocks(&examined, place.format)?,
            (_, true) => messages(&examined, place.format)?,
            _ => segments(&examined, place.format)?,
        }
    }
    Ok(())
}

const SEGMENTS: &[Column] = &[
    Column::Left("FILE"),
    Column::Right("LAST"),
    Column::Right("MESSAGES"),
    Column::Right("TOPICS"),
    Column::Right("BLOCKS"),
    Column::Right("USED"),
    Column::Right("ALLOCATED"),
    Column::Left("STATE"),
    Column::Left("INDEX"),
    Column::Left("FIRST PUBLISHED"),
    Column::Left("LAST PUBLISHED"),
];

fn segments(examined: &Examined, format: Format) -> io::Result<()> {
    let log = &examined.log;
    let rows = log.segments.iter().map(|segment| Segment::new(log.name.as_str(), segment));
    if format == Format::Json {
        let mut out = output::stdout();
        rows.into_iter().try_for_each(|row| output::json_line(&mut out, &row))?;
        return out.flush();
    }
    output::line(format!("namespace {}: {}", log.name, output::count(log.messages(), "message")))?;
    let mut table = Table::new(SEGMENTS);
    for row in rows {
        table.row(vec![
            row.file,
            row.last_sequence.to_string(),
            row.messages.to_string(),
            row.topics.to_string(),
            row.blocks.to_string(),
            output::bytes(row.bytes_used),
            output::bytes(row.bytes_allocated),
            row.state.into(),
            row.index.into(),
            row.first_publish_time,
            row.last_publish_time,
        ]);
    }
    table.print()
}

/// A segment as one object.
#[derive(Serialize)]
struct Segment<'a> {
    namespace: &'a str,
    file: String,
    first_sequence: u64,
    last_sequence: u64,
    messages: u64,
    topics: usize,
    blocks: u64,
    bytes_used: u64,
    bytes_allocated: u64,
    first_publish_time: String,
    last_publish_time: String,
    state: &'static str,
    index: &'static str,
}

impl<'a> Segment<'a> {
    fn new(namespace: &'a str, segment: &examine::Examined) -> Self {
        let runs = segment.runs();
        let survey = segment.survey.as_ref();
        Segment {
            namespace,
            file: segment.file(),
            first_sequence: segment.first.0,
            last_sequence: runs.iter().map(|run| run.last.0).max().unwrap_or(0),
            messages: segment.messages(),
            topics: survey.map_or(0, |survey| survey.topics),
            blocks: runs.iter().map(|run| run.blocks).sum(),
            bytes_used: runs.last().map_or(0, |run| run.range.end),
            bytes_allocated: segment.length,
            first_publish_time: survey.map(|survey| time(survey.first_time)).unwrap_or_default(),
            last_publish_time: survey.map(|survey| time(survey.index.summary().last_time)).unwrap_or_default(),
            state: match segment.state {
                State::Sealed => "sealed",
                State::Closed => "closed",
                State::Open => "open",
                State::Torn => "torn",
                State::Damaged => "damaged",
            },
            index: match segment.index {
                IndexState::Right => "right",
                IndexState::Missing => "none",
                IndexState::Stale => "stale",
                IndexState::Ahead => "ahead",
                IndexState::Wrong => "wrong",
            },
        }
    }
}

/// A block as one object.
#[derive(Serialize)]
struct Block<'a> {
    namespace: &'a str,
    file: &'a str,
    offset: u64,
    first_sequence: u64,
    messages: u32,
    bytes: usize,
    publish_time: String,
    synced_through: u64,
    flags: Vec<&'static str>,
}

fn blocks(examined: &Examined, format: Format) -> io::Result<()> {
    let mut out = output::stdout();
    if format == Format::Text {
        let (offset, first, messages) = ("OFFSET", "FIRST", "MESSAGES");
        let (bytes, synced) = ("BYTES", "SYNCED THROUGH");
        let published = "PUBLISHED";
        writeln!(out, "namespace {}", examined.log.name)?;
        writeln!(out, "{offset:>31}  {first:>12}  {messages:>8}  {bytes:>8}  {synced:>14}  {published:<30}  FLAGS")?;
    }
    examined.log.visit(&ReadOnly, &examined.dir, |segment, offset, frame, _| {
        let file = segment.file();
        let block = Block::new(examined.log.name.as_str(), &file, offset, frame);
        if format == Format::Json {
            return output::json_line(&mut out, &block);
        }
        let line = format!(
            "{} {offset:>10}  {:>12}  {:>8}  {:>8}  {:>14}  {:<30}  {}",
            file.trim_end_matches(".log"),
            block.first_sequence,
            block.messages,
            block.bytes,
            block.synced_through,
            block.publish_time,
            block.flags.join(",")
        );
        writeln!(out, "{}", line.trim_end())
    })?;
    out.flush()
}

impl<'a> Block<'a> {
    fn new(namespace: &'a str, file: &'a str, offset: u64, frame: &Frame) -> Self {
        let flags = [
            (frame.has_ids, "ids"),
            (frame.has_expiring, "expiring"),
            (frame.runs > 0, "numbers"),
            (frame.closing, "closing"),
        ];
        Block {
            namespace,
            file,
            offset,
            first_sequence: frame.first.0,
            messages: frame.count,
            bytes: frame.bytes,
            publish_time: time(frame.time),
            synced_through: frame.synced_through.0,
            flags: flags.into_iter().filter_map(|(is, name)| is.then_some(name)).collect(),
        }
    }
}

fn messages(examined: &Examined, format: Format) -> io::Result<()> {
    let form = match format {
        Format::Text => Form::Text,
        Format::Json => Form::Json,
    };
    let mut out = output::stdout();
    examined.log.visit(&ReadOnly, &examined.dir, |_, _, frame, block| {
        for record in Records::new(&block[frame.records()]).flatten() {
            let message = Message::decode(record.message()).map_err(io::Error::other)?;
            form.write(&mut out, &message, None)?;
        }
        Ok(())
    })?;
    out.flush()
}

//! Standard output: one buffer, tables for people, one object a line for programs.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, StdoutLock, Write},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::units::{Size, Span};

/// How to print.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people
    Text,
    /// One object a line
    Json,
}

/// Bytes that are gathered before they are written, at most.
const BUFFER: usize = 64 << 10;

/// Standard output, for one command alone.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER, io::stdout().lock())
}

/// Prints a sentence.
pub fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints an object on a line of its own.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = stdout();
    json_line(&mut out, value)?;
    out.flush()
}

/// Prints names with their values, one below the other.
pub fn fields(fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut out = stdout();
    for (name, value) in fields {
        writeln!(out, "{name:<width$}  {value}")?;
    }
    out.flush()
}

/// Writes an object on a line of its own.
pub fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Columns of text under their names. The first is aligned to the left, the others as their columns say.
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

/// A column's name, and on which side its text stands.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

impl Table {
    /// Without a row.
    pub fn new(columns: &'static [Column]) -> Self {
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row: a cell a column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints it.
    pub fn print(&self) -> io::Result<()> {
        let mut out = stdout();
        out.write_all(self.render().as_bytes())?;
        out.flush()
    }

    fn render(&self) -> String {
        let names = self.columns.iter().map(|column| match column {
            Column::Left(name) | Column::Right(name) => name.to_string(),
        });
        let names: Vec<String> = names.collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&names).chain(&self.rows).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let start = text.len();
            for ((cell, width), column) in line.iter().zip(&widths).zip(self.columns) {
                let _ = match column {
                    Column::Left(_) => write!(text, "{cell:<width$}  "),
                    Column::Right(_) => write!(text, "{cell:>width$}  "),
                };
            }
            let end = start + text[start..].trim_end().len();
            text.truncate(end);
            text.push('\n');
        }
        text
    }
}

/// A time as RFC 3339 writes it; empty if there is none.
pub fn time(time: Option<&prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

/// A number of bytes to two or three digits, as people compare them: `3.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A number of bytes exactly, as flags take it.
pub fn exact_bytes(bytes: u64) -> String {
    Size(bytes).to_string()
}

/// So many of something, in words: `1 message`, `2 messages`.
pub fn count(number: u64, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

/// A duration for the wire. One that is longer than the wire can say is as good as for ever.
pub fn wire_duration(duration: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// A duration as flags take it; empty if there is none.
pub fn duration(duration: Option<&prost_types::Duration>) -> String {
    let duration = duration.and_then(|duration| std::time::Duration::try_from(*duration).ok());
    duration.map(|duration| Span(duration).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(&[Column::Left("TOPIC"), Column::Right("MESSAGES")]);
        table.row(vec!["ä".into(), "12345678901".into()]);
        table.row(vec!["orders/eu".into(), "7".into()]);
        let expected = "TOPIC         MESSAGES\nä          12345678901\norders/eu            7\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn sizes_to_compare() {
        for (size, text) in [(0, "0 B"), (1023, "1023 B"), (3 << 19, "1.5 MiB"), (700 << 30, "700 GiB")] {
            assert_eq!(bytes(size), text);
        }
    }
}

//! Whether a reader's messages read what a writer's wrote: the rules of Confluent's registry for Protobuf, which are those
//! of the wire and some of meaning. Messages are told by their names without the file's package, fields by their numbers.
//!
//! In the way are a message that is gone; a field whose encoding changed (the integers and enums are one group, sint32
//! and sint64, fixed32 and sfixed32, fixed64 and sfixed64, string and bytes others), or that names another message; a
//! number that repeats on one side only; a required field that one side has not, or that the reader alone requires; a
//! field that left its oneof; fields that move into a oneof together, or join others there. Not in the way are fields and
//! oneofs that come or go, names of fields, enums and their values, and the package.
//!
//! Two rules are Protobuf's own rather than Confluent's: a message may become repeated as a string may, and a field that
//! was outside may not move into a oneof that has others already.

use std::collections::HashSet;

use super::super::fault::{FAULTS, Fault};
use super::table::{Field, Id, Label, Message, Scalar, Table, Type};

/// Why the reader cannot read what the writer wrote.
pub fn read(reader: &Table, writer: &Table) -> Vec<Fault> {
    let mut reading = Reading { reader, writer, left: Vec::new(), met: HashSet::new(), faults: Vec::new() };
    reading.messages("", reader.roots(), writer.roots());
    while let Some((reader, writer)) = reading.left.pop().filter(|_| reading.faults.len() < FAULTS) {
        reading.message(reader, writer);
    }
    reading.faults.truncate(FAULTS);
    reading.faults
}

struct Reading<'a> {
    reader: &'a Table,
    writer: &'a Table,
    /// Messages that meet, and have not been looked at.
    left: Vec<(Id, Id)>,
    met: HashSet<(Id, Id)>,
    faults: Vec<Fault>,
}

impl Reading<'_> {
    fn fault(&mut self, place: &str, what: impl Into<String>) {
        self.faults.push(Fault::new(format!("$.{place}"), what));
    }

    fn meet(&mut self, reader: Id, writer: Id) {
        if self.met.insert((reader, writer)) {
            self.left.push((reader, writer));
        }
    }

    /// Messages that are defined side by side.
    fn messages(&mut self, within: &str, reader: &[Id], writer: &[Id]) {
        for &written in writer {
            let name = &self.writer.get(written).name;
            match reader.iter().find(|id| self.reader.get(**id).name == *name) {
                Some(&read) => self.meet(read, written),
                None => {
                    let within = if within.is_empty() { "the schema" } else { within };
                    self.fault(name, format!("the message was written, and {within} of the reader has it not"));
                }
            }
        }
    }

    fn message(&mut self, reader: Id, writer: Id) {
        let (read, written) = (self.reader.get(reader), self.writer.get(writer));
        self.messages(&read.name, &read.inner, &written.inner);
        for field in &written.fields {
            let place = format!("{}.{}", written.name, field.name);
            match read.field(field.number) {
                Some(same) => self.field(&place, same, field),
                None if field.label == Label::Required => {
                    self.fault(&place, "the field was required, and the reader has it not");
                }
                None => (),
            }
        }
        for field in read.fields.iter().filter(|field| written.field(field.number).is_none()) {
            if field.label == Label::Required {
                let place = format!("{}.{}", read.name, field.name);
                self.fault(&place, "the reader requires the field, which was not written");
            }
        }
        self.oneofs(read, written);
    }

    fn field(&mut self, place: &str, read: &Field, written: &Field) {
        let is_same = match (read.kind, written.kind) {
            (Type::Scalar(read), Type::Scalar(written)) => read == written || read.is_text() && written.is_text(),
            (Type::Message(read), Type::Message(written)) | (Type::Group(read), Type::Group(written)) => {
                let (same, other) = (&self.reader.get(read).name, &self.writer.get(written).name);
                same == other && {
                    self.meet(read, written);
                    true
                }
            }
            (Type::Entry(read), Type::Entry(written)) => {
                self.meet(read, written);
                true
            }
            _ => false,
        };
        if !is_same {
            let (read, written) = (read.kind.title(self.reader), written.kind.title(self.writer));
            return self.fault(place, format!("it was written as {written}, and is read as {read}"));
        }
        let repeats = |field: &Field| field.label == Label::Repeated;
        if repeats(read) != repeats(written) && matches!(read.kind, Type::Scalar(scalar) if !scalar.is_text()) {
            self.fault(place, "the number repeats on one side only, where it may stand packed");
        }
        if read.label == Label::Required && written.label != Label::Required {
            self.fault(place, "the reader requires the field, which need not be written");
        }
    }

    /// Of a oneof's fields a reader keeps the last: what a writer may set together must not meet in one, and what was one
    /// must not be told apart.
    fn oneofs(&mut self, read: &Message, written: &Message) {
        let oneof_of = |message: &Message, number| message.field(number).and_then(|field| field.oneof.clone());
        let read_names: HashSet<&str> = read.fields.iter().filter_map(|field| field.oneof.as_deref()).collect();
        for field in &written.fields {
            let Some(oneof) = field.oneof.as_deref().filter(|oneof| read_names.contains(oneof)) else { continue };
            if oneof_of(read, field.number).as_deref() != Some(oneof) {
                self.fault(
                    &format!("{}.{}", written.name, field.name),
                    format!("the field has left the oneof {oneof}"),
                );
            }
        }
        let mut names: Vec<&str> = read_names.into_iter().collect();
        names.sort_unstable();
        for oneof in names {
            let members = read.fields.iter().filter(|field| field.oneof.as_deref() == Some(oneof));
            let old: Vec<&Field> = members.filter_map(|field| written.field(field.number)).collect();
            let moved: Vec<&str> =
                old.iter().filter(|field| field.oneof.is_none()).map(|field| field.name.as_str()).collect();
            if !moved.is_empty() && old.len() > 1 {
                let fields = moved.join(", ");
                let what =
                    format!("{fields} moved into the oneof {oneof} beside others, where only the last one set is kept");
                self.fault(&written.name, what);
            }
        }
    }
}

impl Scalar {
    fn is_text(self) -> bool {
        matches!(self, Scalar::String | Scalar::Bytes)
    }
}

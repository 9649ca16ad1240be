//! The fields of a record by their names, for programs that know a few of them: read out of a payload where they lie, and
//! written without a value in between. Only Avro's records have it.

use std::sync::Arc;

use super::{
    Broken, Kind, Schema, Violation,
    avro::{Avro, read::Reader, write::Writer},
    definition::Rules,
};

/// What a program expects in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Avro's `string`; to read also `bytes` that are UTF-8.
    Text,
    /// Avro's `long`; to read also `int`.
    Long,
}

/// What is in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of [`Shape::Text`].
    Text(&'a str),
    /// Of [`Shape::Long`].
    Long(i64),
}

/// Reads some fields of a record's payloads. Keeps what it needs of the schema.
#[derive(Debug)]
pub struct RecordReader {
    avro: Arc<Avro>,
    reader: Reader,
}

/// Makes payloads of a record.
#[derive(Debug)]
pub struct RecordWriter(Writer);

impl Schema {
    /// Reads these fields. What is read is a union's too, if one of its branches may be of the shape. Fields go by the names
    /// that the schema gives them: its aliases are for who reads by it, and here the program is the reader.
    ///
    /// It is broken, with the field's name, if the schema is no Avro record, if it lacks one of the fields, or if one can
    /// never be of its shape.
    pub fn reader(&self, fields: &[(&str, Shape)]) -> Result<RecordReader, Broken> {
        let avro = self.record()?;
        let reader = Reader::new(avro, fields)?;
        Ok(RecordReader { avro: avro.clone(), reader })
    }

    /// Makes payloads of these fields; any other of the schema takes its default. Of a union the first branch is written
    /// that takes any value of the shape.
    ///
    /// It is broken, with the field's name, if the schema is no Avro record, if it lacks one of the fields, if one does
    /// not take its shape, or if another one has no default.
    pub fn writer(&self, fields: &[(&str, Shape)]) -> Result<RecordWriter, Broken> {
        Writer::new(self.record()?, fields).map(RecordWriter)
    }

    fn record(&self) -> Result<&Arc<Avro>, Broken> {
        match &self.rules {
            Rules::Avro(avro) => Ok(avro),
            Rules::Json(_) | Rules::Protobuf(_) => {
                let what =
                    format!("it is written in {}, and only {}'s records have such fields", self.kind(), Kind::Avro);
                Err(Broken::whole(what))
            }
        }
    }
}

impl RecordReader {
    /// Reads the fields into `values`, in the order in which they were named. All of the payload is checked, as
    /// [`Schema::validate`] does; if it breaks the schema, or a field is not of its shape, some values may be written.
    ///
    /// # Panics
    ///
    /// If there is not one value for each field.
    pub fn read<'a>(&self, payload: &'a [u8], values: &mut [Value<'a>]) -> Result<(), Violation> {
        self.reader.read(&self.avro, payload, values)
    }
}

impl RecordWriter {
    /// Appends a payload of these values, in the order in which their fields were named.
    ///
    /// # Panics
    ///
    /// If there is not one value for each field, of its shape.
    pub fn write(&self, values: &[Value<'_>], out: &mut Vec<u8>) {
        self.0.write(values, out);
    }
}

impl Shape {
    /// The type to give to a field that is to have it.
    pub(super) fn avro(self) -> &'static str {
        match self {
            Shape::Text => "string",
            Shape::Long => "long",
        }
    }
}

impl Value<'_> {
    /// What it is.
    pub(super) fn shape(&self) -> Shape {
        match self {
            Value::Text(_) => Shape::Text,
            Value::Long(_) => Shape::Long,
        }
    }
}

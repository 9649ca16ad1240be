//! The rules of schemas: whether a text is one, whether a payload is as one says, and whether what one wrote another
//! can read. Avro, JSON Schema and Protobuf, under the names that Confluent's registry gives them. Pure: nothing here
//! reads a file, asks a clock, or fetches what a schema refers to.
//!
//! In reading order: a [`Schema`] is made of a text, its [`Kind`] and what it refers to, within [`Limits`]; what is wrong
//! with it is [`Broken`], what is wrong with a payload a [`Violation`]. [`compatibility`] compares schemas. For programs
//! that know a few fields of a record by their names there are a [`RecordReader`] and a [`RecordWriter`].

mod definition;

mod kind;
mod limits;

mod broken;
mod fault;
mod violation;

pub mod compatibility;

mod record;

mod avro;
mod json;
mod protobuf;

mod document;
mod frame;
mod nesting;
mod path;

#[cfg(test)]
mod testing;

pub use broken::Broken;
pub use compatibility::{Compatibility, Incompatible};
pub use definition::{Referenced, Schema};
pub use frame::Frame;
pub use kind::Kind;
pub use limits::Limits;
pub use record::{RecordReader, RecordWriter, Shape, Value};
pub use violation::Violation;

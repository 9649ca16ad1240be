//! What a schema and a payload may ask of the machine that reads them.

/// The limits; the default is meant for schemas that anyone may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a schema's text and of the texts that it refers to, together.
    pub bytes: usize,
    /// Texts that a schema refers to, each of which may import the next.
    pub references: usize,
    /// Levels of brackets in a text, one within the other: about 30 nested records of Avro. `serde_json` reads 127.
    pub depth: usize,
    /// Types that a schema and what it refers to define: Avro's types and, as many again, its fields; JSON's subschemas, Protobuf's messages, fields and
    /// values.
    pub types: usize,
    /// Patterns of a JSON Schema, each of which may take a megabyte.
    pub patterns: usize,
    /// Levels of a payload, one within the other. As Protobuf's own decoders have it.
    pub payload_depth: usize,
    /// Items of one payload that take no bytes, of which a few bytes could claim any number.
    pub empty_items: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 1 << 20,
            references: 256,
            depth: 96,
            types: 10_000,
            patterns: 256,
            payload_depth: 100,
            empty_items: 10_000,
        }
    }
}

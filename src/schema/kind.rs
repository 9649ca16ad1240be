//! In which language a schema is written.

use std::{fmt, str::FromStr};

/// A language for schemas, named as Confluent's registry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `AVRO`
    Avro,
    /// `JSON`: JSON Schema.
    Json,
    /// `PROTOBUF`
    Protobuf,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Kind; 3] = [Kind::Avro, Kind::Json, Kind::Protobuf];

    /// Its name in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Avro => "AVRO",
            Kind::Json => "JSON",
            Kind::Protobuf => "PROTOBUF",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        named.ok_or_else(|| format!("{text:?} is no kind of schema: use AVRO, JSON or PROTOBUF"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("avro".parse::<Kind>().unwrap_err().contains("use AVRO, JSON or PROTOBUF"));
    }
}

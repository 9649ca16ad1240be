//! Reads fields of a record while its payload is walked. Allocates nothing unless it fails.

use super::super::{
    Broken, Violation,
    record::{Shape, Value},
};
use super::{
    Avro,
    types::{Id, Primitive, Record, Type, Types},
};

/// Which fields are read.
#[derive(Debug)]
pub struct Reader {
    /// For each field of the record the place of its value, and what it has to be.
    wanted: Box<[Option<(usize, Shape)>]>,
    values: usize,
}

impl Reader {
    pub fn new(avro: &Avro, fields: &[(&str, Shape)]) -> Result<Self, Broken> {
        let record = avro.record()?;
        let mut wanted = vec![None; record.fields.len()].into_boxed_slice();
        for (place, &(name, shape)) in fields.iter().enumerate() {
            let at = find(record, name, shape)?;
            if !may_be(&avro.types, record.fields[at].kind, shape) {
                let title = avro.types.get(record.fields[at].kind).title();
                return Err(Broken::whole(format!(
                    "the field {name} of record {} can be no {} to read, as it is a {title}: give it another type",
                    record.name.full,
                    shape.avro(),
                )));
            }
            if wanted[at].replace((place, shape)).is_some() {
                return Err(Broken::whole(format!("the field {name} is asked for twice")));
            }
        }
        Ok(Reader { wanted, values: fields.len() })
    }

    pub fn read<'a>(&self, avro: &Avro, payload: &'a [u8], values: &mut [Value<'a>]) -> Result<(), Violation> {
        assert_eq!(values.len(), self.values, "there is one value for each field");
        avro.plan.check_record(payload, &avro.types, |walk, kind, index| {
            match self.wanted[index as usize] {
                None => walk.value(kind)?,
                Some((place, Shape::Text)) => values[place] = Value::Text(walk.text_within(kind)?),
                Some((place, Shape::Long)) => values[place] = Value::Long(walk.long_within(kind)?),
            }
            Ok(())
        })
    }
}

/// The place of a field in its record.
pub fn find(record: &Record, name: &str, shape: Shape) -> Result<usize, Broken> {
    record.fields.iter().position(|field| field.name == name).ok_or_else(|| {
        let what = format!("record {} has no field {name}: add it, as a {}", record.name.full, shape.avro());
        Broken::whole(what)
    })
}

/// Whether a value of the type may be read as of the shape.
fn may_be(types: &Types, kind: Id, shape: Shape) -> bool {
    match (types.get(kind), shape) {
        (Type::Union(branches), _) => branches.iter().any(|branch| may_be(types, *branch, shape)),
        (Type::Primitive(primitive) | Type::Logical(primitive, _), Shape::Text) => {
            matches!(primitive, Primitive::String | Primitive::Bytes)
        }
        (Type::Primitive(primitive), Shape::Long) => matches!(primitive, Primitive::Long | Primitive::Int),
        _ => false,
    }
}

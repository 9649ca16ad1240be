//! Writes a record whose schema is known ahead: what is always the same lies ready, and values go between.

use std::ops::Range;

use super::super::{
    Broken,
    record::{Shape, Value},
};
use super::{
    Avro,
    encode::{self, Defaults},
    read::find,
    types::{Primitive, Record, Type, Types},
};

/// Which fields are written, and what stands around them.
#[derive(Debug)]
pub struct Writer {
    ready: Box<[u8]>,
    parts: Box<[Part]>,
    shapes: Box<[Shape]>,
}

/// A part of the payload.
#[derive(Debug)]
enum Part {
    /// What lies ready there.
    Ready(Range<usize>),
    /// The value at this place.
    Value(usize),
}

impl Writer {
    pub fn new(avro: &Avro, fields: &[(&str, Shape)]) -> Result<Self, Broken> {
        let record = avro.record()?;
        let mut places = vec![None; record.fields.len()];
        for (place, &(name, shape)) in fields.iter().enumerate() {
            if places[find(record, name, shape)?].replace(place).is_some() {
                return Err(Broken::whole(format!("the field {name} is asked for twice")));
            }
        }
        let (ready, parts) = parts(&avro.types, record, fields, &places)?;
        let shapes = fields.iter().map(|(_, shape)| *shape).collect();
        let writer = Writer { ready: ready.into(), parts: parts.into(), shapes };
        writer.try_defaults(avro)?;
        Ok(writer)
    }

    pub fn write(&self, values: &[Value<'_>], out: &mut Vec<u8>) {
        let fit = values.iter().map(Value::shape).eq(self.shapes.iter().copied());
        assert!(fit, "there is one value for each field, of its shape");
        for part in &self.parts {
            match part {
                Part::Ready(range) => out.extend_from_slice(&self.ready[range.clone()]),
                Part::Value(place) => match values[*place] {
                    Value::Text(text) => encode::bytes(text.as_bytes(), out),
                    Value::Long(number) => encode::long(number, out),
                },
            }
        }
    }

    /// Defaults may be of their types, and still nothing that a payload may hold: too deep, or too many items of no bytes.
    fn try_defaults(&self, avro: &Avro) -> Result<(), Broken> {
        let least = self.shapes.iter().map(|shape| match shape {
            Shape::Text => Value::Text(""),
            Shape::Long => Value::Long(0),
        });
        let mut payload = Vec::new();
        self.write(&least.collect::<Vec<_>>(), &mut payload);
        avro.validate(&payload).map_err(|violation| {
            let what = format!("its defaults break it at {}: {}", violation.path, violation.what);
            Broken::whole(what)
        })
    }
}

/// The record in parts, and what lies ready for them; `places` has for each field the place of its value, if it has one.
fn parts(
    types: &Types,
    record: &Record,
    fields: &[(&str, Shape)],
    places: &[Option<usize>],
) -> Result<(Vec<u8>, Vec<Part>), Broken> {
    let (mut parts, mut begin, mut defaults) = (Vec::new(), 0, Defaults::new(types));
    for (field, place) in record.fields.iter().zip(places) {
        let name = &field.name;
        match (*place, &field.default) {
            (Some(place), _) => {
                let (kind, shape) = (types.get(field.kind), fields[place].1);
                match kind {
                    Type::Union(branches) => {
                        let branch = branches.iter().position(|branch| takes(types.get(*branch), shape));
                        let branch = branch.ok_or_else(|| cannot(record, name, kind, shape))?;
                        encode::index(branch, &mut defaults.out);
                    }
                    kind if takes(kind, shape) => {}
                    kind => return Err(cannot(record, name, kind, shape)),
                }
                parts.extend([Part::Ready(begin..defaults.out.len()), Part::Value(place)]);
                begin = defaults.out.len();
            }
            (None, Some(default)) => {
                if !defaults.add(default, field.kind) {
                    let what = format!(
                        "the default of the field {name} cannot be written, as it has no end, is too large, or has a \
                         UUID that is none: give it another one"
                    );
                    return Err(Broken::whole(what));
                }
            }
            (None, None) => {
                let what = format!(
                    "nothing is known to write into the field {name} of record {}, and it has no default: give it one, \
                     or take the field out",
                    record.name.full
                );
                return Err(Broken::whole(what));
            }
        }
    }
    parts.push(Part::Ready(begin..defaults.out.len()));
    Ok((defaults.out, parts))
}

/// Whether the type takes every value of the shape as it is.
fn takes(kind: &Type, shape: Shape) -> bool {
    match shape {
        Shape::Text => matches!(kind, Type::Primitive(Primitive::String)),
        Shape::Long => matches!(kind, Type::Primitive(Primitive::Long)),
    }
}

fn cannot(record: &Record, name: &str, kind: &Type, shape: Shape) -> Broken {
    Broken::whole(format!(
        "the field {name} of record {} does not take every {}, as it is a {}: give it another type",
        record.name.full,
        shape.avro(),
        kind.title()
    ))
}

//! The runs of producer numbers of records, as they are kept beside them. Never touches a file.
//!
//! For each run, with varints as in protobuf: bytes of the producer's name,
//! the name, the first number, the count, and the first sequence counted from that of the records.

use super::producers::Run;
use crate::model::{ProducerName, Sequence, wire};

/// Appends the runs of records the first of which has the sequence `first`.
pub fn encode<'a>(runs: impl Iterator<Item = (&'a ProducerName, &'a Run)>, first: Sequence, out: &mut Vec<u8>) {
    for (producer, run) in runs {
        wire::put_varint(out, producer.as_str().len() as u64);
        out.extend_from_slice(producer.as_str().as_bytes());
        wire::put_varint(out, run.number);
        wire::put_varint(out, run.count);
        wire::put_varint(out, run.sequence.0 - first.0);
    }
}

/// Takes them back. None if the bytes make no runs.
pub fn decode(mut bytes: &[u8], first: Sequence) -> Option<Vec<(ProducerName, Run)>> {
    let mut runs = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(wire::take_varint(&mut bytes)?).ok()?;
        let name = std::str::from_utf8(wire::take(&mut bytes, length)?).ok()?;
        let producer = ProducerName::parse(name).ok()?;
        let (number, count) = (wire::take_varint(&mut bytes)?, wire::take_varint(&mut bytes)?);
        let sequence = Sequence(first.0.checked_add(wire::take_varint(&mut bytes)?)?);
        number.checked_add(count)?;
        sequence.0.checked_add(count)?;
        runs.push((producer, Run { number, sequence, count }));
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        engine::producers::{Additions, Most, Numbered, Producers, Session},
        model::Timestamp,
    };

    proptest! {
        #[test]
        fn runs_come_back(name in "[a-zß/ ]{1,40}", number in 1..u64::MAX / 2, count in 1..1_000_000u64, offset: u16) {
            let producer = ProducerName::parse(&name).unwrap();
            let mut producers = Producers::new(Most::default());
            let session = Arc::new(Session { producer: producer.clone(), replaced: CancellationToken::new() });
            producers.restore(&producer, Run { number: 1, sequence: Sequence(1), count: number - 1 }, Timestamp::EPOCH);
            producers.attach(session.clone(), Timestamp::EPOCH).unwrap();
            let mut additions = Additions::default();
            let placing = additions.begin(&Numbered { session, numbers: number..number + count }, &producers).unwrap();
            let first = Sequence(77);
            let run = Run { number, sequence: first.plus(offset.into()), count };
            additions.add(placing, run);
            let mut bytes = Vec::new();
            encode(additions.runs(), first, &mut bytes);
            prop_assert_eq!(decode(&bytes, first), Some(vec![(producer, run)]));
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1], first), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), first: u64) {
            let _ = decode(&bytes, Sequence(first));
        }
    }
}

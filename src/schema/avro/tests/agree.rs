//! The walker against the decoder of `apache-avro`, on schemas and values at random: what is accepted here is decoded
//! there, and what is decoded there and comes back the same is accepted here. But for limits, which that decoder has not;
//! and where it is laxer: it takes the end of a payload for a boolean, loses what a number has beyond 64 bits, reads over
//! a block's size, and knows more spellings of a UUID.

use apache_avro::Schema as Other;
use proptest::prelude::*;

use super::{
    super::super::{Kind, Schema},
    random::{Maker, Speller, decode, encode, shape},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    fn agrees(
        shape in shape(),
        random in prop::collection::vec(any::<u8>(), 0..80),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..4),
    ) {
        let spelled = Speller::default().spell(&shape);
        let text = spelled.to_string();
        let schema = Schema::parse(Kind::Avro, &text, &[]).map_err(|broken| TestCaseError::fail(format!("{broken} {text}")))?;
        let other = Other::parse_str(&text).map_err(|fault| TestCaseError::fail(format!("{fault} {text}")))?;
        let value = Maker::new(&spelled, random).value(&spelled);
        let mut payload = encode(&other, value).map_err(|fault| TestCaseError::fail(format!("{fault} {text}")))?;
        prop_assert_eq!(schema.validate(&payload), Ok(()), "{}", text);
        for (place, byte, how) in damage {
            let at = place.index(payload.len() + 1);
            match (how, payload.get_mut(at)) {
                (0, _) | (_, None) => payload.insert(at, byte),
                (1, Some(there)) => *there = byte,
                (2, Some(_)) => drop(payload.remove(at)),
                (_, Some(there)) => *there ^= 1 << (byte % 8),
            }
        }
        let accepted = schema.validate(&payload);
        let decoded = decode(&other, &payload);
        if accepted.is_ok() {
            prop_assert!(decoded.is_some(), "{:?} is accepted here, and not decoded there: {}", payload, text);
        }
        // What comes out as it went in is no matter of strictness, but of limits.
        let limited = accepted.as_ref().is_err_and(|violation| violation.what.contains("than is allowed"));
        let again = decoded.and_then(|value| encode(&other, value).ok());
        if again.is_some_and(|again| again == payload) && !limited {
            prop_assert_eq!(accepted, Ok(()), "{:?} comes back the same there: {}", payload, text);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in r#"[\[\]{}":, a-f0-9]{0,40}|(\{"type": ?"(record|enum|fixed|array|map|int)",? ?("(name|fields|symbols|size|items|values)": ?("[a-z.]*"|-?[0-9]{1,12}|\[\]|\{\}|null)},?)*){0,3}"#) {
        let _ = Schema::parse(Kind::Avro, &text, &[]);
    }
}

/// The other decoder goes as deep as a payload leads it.
#[test]
fn agrees_with_another_decoder() {
    std::thread::Builder::new().stack_size(256 << 20).spawn(agrees).unwrap().join().unwrap();
}

//! What one keyword of a reader's refuses of what a writer's schema allows: keywords that say something of the value
//! itself. Never looks into subschemas.

use serde_json::Value;

use super::{
    kinds::Kinds,
    writer::{Writer, items, length, members, number},
};

/// Why values of the writer's may not be valid for the reader's keyword, if so. `type` and `required` are told apart
/// elsewhere.
pub fn refuses(keyword: &str, value: &Value, writer: &Writer<'_>) -> Option<String> {
    let about = |kinds: Kinds| writer.kinds.meets(kinds);
    let fits = match keyword {
        "enum" | "const" => return lists(keyword, value, writer),
        "minimum" | "exclusiveMinimum" if about(Kinds::NUMBER) => bound(keyword, value, writer, 1.0),
        "maximum" | "exclusiveMaximum" if about(Kinds::NUMBER) => bound(keyword, value, writer, -1.0),
        "multipleOf" if about(Kinds::NUMBER) => multiple(value, writer),
        "minLength" if about(Kinds::STRING) => at_least(value, writer.least(keyword, length)),
        "maxLength" if about(Kinds::STRING) => at_most(value, writer.most(keyword, length)),
        "minItems" if about(Kinds::ARRAY) => at_least(value, writer.least(keyword, items)),
        "maxItems" if about(Kinds::ARRAY) => at_most(value, writer.most(keyword, items)),
        "minProperties" if about(Kinds::OBJECT) => at_least(value, writer.least(keyword, members)),
        "maxProperties" if about(Kinds::OBJECT) => at_most(value, writer.most(keyword, members)),
        "uniqueItems" if about(Kinds::ARRAY) => *value != true || writer.said(keyword).any(|said| *said == true),
        "pattern" | "format" | "contentEncoding" | "contentMediaType" if about(Kinds::STRING) => {
            writer.said(keyword).any(|said| said == value)
        }
        _ => true,
    };
    let before = writer.said(keyword).next().map_or("it was not there".to_owned(), |said| format!("it was {said}"));
    (!fits).then(|| format!("{keyword} is {value} now and refuses more than before, when {before}"))
}

/// A list of values takes what is on it.
fn lists(keyword: &str, value: &Value, writer: &Writer<'_>) -> Option<String> {
    let allowed = match value {
        Value::Array(values) if keyword == "enum" => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let small = || {
        let all = [Value::Null, Value::Bool(false), Value::Bool(true)];
        let written = all.into_iter().filter(|value| Kinds::of(value).meets(writer.kinds));
        writer.kinds.without(Kinds::SMALL).is_empty().then(|| written.collect::<Vec<_>>())
    };
    let written = writer.values().map(|values| values.into_iter().cloned().collect()).or_else(small);
    let Some(written) = written else {
        return Some(format!("{keyword} allows only what it lists now, and other values were allowed before"));
    };
    let missing = written.iter().find(|value| !allowed.iter().any(|allowed| same(allowed, value)));
    missing.map(|value| format!("{keyword} has no {value} any more, which was allowed"))
}

/// 1 and 1.0 are the same value.
fn same(left: &Value, right: &Value) -> bool {
    left == right || number(left).is_some_and(|left| Some(left) == number(right))
}

/// A limit from below, and whether what it names is beyond it. The greater is the stricter.
type Bound = (f64, bool);

/// A bound has to be no stricter than the writer's. The sign is negative for one from above.
fn bound(keyword: &str, value: &Value, writer: &Writer<'_>, sign: f64) -> bool {
    let Some(limit) = number(value) else { return true };
    let [plain, exclusive] = match sign > 0.0 {
        true => ["minimum", "exclusiveMinimum"],
        false => ["maximum", "exclusiveMaximum"],
    };
    let reader: Bound = (limit * sign, keyword == exclusive);
    let is_said = [(plain, false), (exclusive, true)].into_iter().any(|(keyword, is_exclusive)| {
        writer.said(keyword).filter_map(number).any(|said| (said * sign, is_exclusive) >= reader)
    });
    let are_listed = || {
        let values = writer.values()?;
        Some(values.into_iter().filter_map(number).all(|listed| (listed * sign, false) >= reader))
    };
    is_said || are_listed().unwrap_or(false)
}

/// Whole numbers below this are exact: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn multiple(value: &Value, writer: &Writer<'_>) -> bool {
    let Some(step) = number(value).filter(|step| *step > 0.0) else { return true };
    // Beyond that every number seems whole.
    let is_multiple = |number: f64| (number / step).fract() == 0.0 && (number / step).abs() < EXACT;
    let is_whole = !writer.kinds.meets(Kinds::NUMBER.without(Kinds::WHOLE)) && is_multiple(1.0);
    let listed = || writer.values().map(|values| values.into_iter().filter_map(number).all(is_multiple));
    is_whole || writer.said("multipleOf").filter_map(number).any(is_multiple) || listed().unwrap_or(false)
}

fn at_least(value: &Value, least: Option<f64>) -> bool {
    // Nothing has less than none.
    number(value).is_none_or(|limit| least.unwrap_or(0.0) >= limit)
}

fn at_most(value: &Value, most: Option<f64>) -> bool {
    number(value).is_none_or(|limit| most.is_some_and(|most| most <= limit))
}

//! How long a call may wait for what it asks for.

use std::time::Duration;

use http::HeaderMap;

use super::convert;
use crate::{model::Result, server::layer::deadline::patience};

/// The longest, for a caller that does not say how long it waits itself.
pub const LONGEST: Duration = Duration::from_secs(20);

/// What a request's `max_wait` comes to, so that the answer still reaches its caller.
pub fn parse(asked: Option<prost_types::Duration>, headers: &HeaderMap) -> Result<Duration> {
    let asked = asked.map(|wait| convert::parse_duration(wait, "max_wait")).transpose()?;
    let most = patience(headers).map_or(LONGEST, |left| left.mul_f64(0.9));
    Ok(asked.unwrap_or_default().min(most))
}

/// How long a call waits for what is to come: as long as it asks, and less than its caller waits himself.
pub fn timeout(asked: Option<prost_types::Duration>, headers: &HeaderMap) -> Result<Duration> {
    let asked = asked.map(|wait| convert::parse_duration(wait, "timeout")).transpose()?;
    let left = patience(headers).map(|left| left.mul_f64(0.9));
    Ok(match (asked, left) {
        (Some(asked), Some(left)) => asked.min(left),
        (asked, left) => asked.or(left).unwrap_or(LONGEST),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn no_wait_is_longer_than_its_caller_waits() {
        let within =
            |timeout| HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), HeaderValue::from_static(timeout))]);
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        for (asked, headers, expected) in [
            (None, HeaderMap::new(), 0.0),
            (seconds(3), HeaderMap::new(), 3.0),
            (seconds(100), HeaderMap::new(), 20.0),
            (seconds(100), within("10S"), 9.0),
            (seconds(3), within("10S"), 3.0),
            (seconds(100), within("1000S"), 100.0),
        ] {
            assert_eq!(parse(asked, &headers).unwrap().as_secs_f64(), expected, "{asked:?} {headers:?}");
        }
        assert_eq!(parse(seconds(-1), &HeaderMap::new()).unwrap_err().violated_field(), Some("max_wait"));
    }
}

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

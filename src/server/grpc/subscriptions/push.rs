//! Webhooks, in and out: what a subscription's `push_config` says, each part by its path in an update mask, and what became
//! of a push. Never tells a secret or a header's value.

use std::time::Duration;

use super::{
    super::convert,
    settings::{Setting, parse_duration},
};
use crate::{
    broker::PushAttempt,
    model::{Hidden, Push, PushFormat, Result, Subscription, limits},
    pb::v1 as pb,
};

/// What can change. The first row is the whole: it comes before its parts, and goes with all of them.
pub(super) const SETTINGS: [Setting; 7] = [
    Setting {
        path: "push_config",
        is_given: |from| from.push_config.is_some(),
        put: |to, from| {
            match from.push_config {
                Some(_) => drop(to.push.get_or_insert_with(Push::default)),
                None => to.push = None,
            }
            Ok(())
        },
    },
    Setting {
        path: "push_config.url",
        is_given: |from| given(from).is_some_and(|from| !from.url.is_empty()),
        put: |to, from| put(to, from, |push, from| push.url.clone_from(&from.url)),
    },
    Setting {
        path: "push_config.secrets",
        is_given: |from| given(from).is_some_and(|from| !from.secrets.is_empty()),
        put: |to, from| put(to, from, |push, from| push.secrets = from.secrets.iter().map(Hidden::new).collect()),
    },
    Setting {
        path: "push_config.max_in_flight",
        is_given: |from| given(from).is_some_and(|from| from.max_in_flight != 0),
        put: |to, from| {
            put(to, from, |push, from| {
                let chosen = Some(from.max_in_flight).filter(|most| *most != 0);
                push.max_in_flight = chosen.unwrap_or(limits::PUSH_IN_FLIGHT_DEFAULT);
            })
        },
    },
    Setting {
        path: "push_config.timeout",
        is_given: |from| given(from).is_some_and(|from| from.timeout.is_some()),
        put: |to, from| {
            let timeout = parse_duration(given(from).and_then(|from| from.timeout), "push_config.timeout")?;
            // What an answer named may come back: it is the same as nothing.
            let unasked = Push::default().timeout(to.ack_deadline);
            put(to, from, |push, _| push.timeout = timeout.filter(|timeout| *timeout != unasked))
        },
    },
    Setting {
        path: "push_config.headers",
        is_given: |from| given(from).is_some_and(|from| !from.headers.is_empty()),
        put: |to, from| put(to, from, put_headers),
    },
    Setting {
        path: "push_config.format",
        is_given: |from| given(from).is_some_and(|from| from.format != pb::PushFormat::Unspecified as i32),
        put: |to, from| {
            let format = parse_format(given(from).map_or(0, |from| from.format))?;
            put(to, from, |push, _| push.format = format)
        },
    },
];

fn given(from: &pb::Subscription) -> Option<&pb::PushConfig> {
    from.push_config.as_ref()
}

/// Changes a part. What is not there has no part that goes back to its default.
fn put(to: &mut Subscription, from: &pb::Subscription, change: impl FnOnce(&mut Push, &pb::PushConfig)) -> Result<()> {
    match (&mut to.push, &from.push_config) {
        (Some(push), Some(from)) => change(push, from),
        (None, Some(from)) => change(to.push.insert(Push::default()), from),
        (Some(push), None) => change(push, &pb::PushConfig::default()),
        (None, None) => {}
    }
    Ok(())
}

/// An answer has no values: a header that comes back without one keeps the one that it has.
fn put_headers(push: &mut Push, from: &pb::PushConfig) {
    let mut known = std::mem::take(&mut push.headers);
    for (name, value) in &from.headers {
        let kept = known.remove(name).filter(|_| value.is_empty());
        push.headers.insert(name.clone(), kept.unwrap_or_else(|| Hidden::new(value)));
    }
}

fn parse_format(value: i32) -> Result<PushFormat> {
    Ok(match pb::PushFormat::try_from(value) {
        Ok(pb::PushFormat::Unspecified) => PushFormat::default(),
        Ok(pb::PushFormat::Envelope) => PushFormat::Envelope,
        Ok(pb::PushFormat::Raw) => PushFormat::Raw,
        Ok(pb::PushFormat::Cloudevents) => PushFormat::CloudEvents,
        Err(_) => return Err(convert::unknown_value(value, "subscription.push_config.format")),
    })
}

/// Out: with every default named, of a subscription with this ack deadline.
pub fn answer(push: &Push, ack_deadline: Duration) -> pb::PushConfig {
    let format = match push.format {
        PushFormat::Envelope => pb::PushFormat::Envelope,
        PushFormat::Raw => pb::PushFormat::Raw,
        PushFormat::CloudEvents => pb::PushFormat::Cloudevents,
    };
    pb::PushConfig {
        url: push.url.clone(),
        secrets: Vec::new(),
        max_in_flight: push.max_in_flight,
        timeout: Some(convert::duration(push.timeout(ack_deadline))),
        headers: push.headers.keys().map(|name| (name.clone(), String::new())).collect(),
        format: format.into(),
        secret_count: push.secrets.len() as u32,
    }
}

/// Out: what became of a push.
pub fn attempt(attempt: PushAttempt) -> pb::PushAttempt {
    pb::PushAttempt {
        attempt_id: attempt.id,
        sequence: attempt.sequence.0,
        attempt: attempt.attempt,
        time: Some(convert::timestamp(attempt.time)),
        latency: Some(convert::duration(attempt.latency)),
        status: attempt.status.into(),
        error: attempt.error,
        response: attempt.response,
    }
}

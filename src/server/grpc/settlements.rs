//! What consumers say of deliveries, as it comes in, and what they are told of it. Never settles anything.

use std::time::Duration;

use super::convert;
use crate::{
    broker::subscription::Word,
    model::{Reason, Result, Verdict, limits},
    pb::v1 as pb,
    server::status,
};

/// Refuses what makes no sense as a whole, before anything of it is settled.
pub fn check(settlements: &[pb::Settlement]) -> Result<()> {
    let ack_ids: usize = settlements.iter().map(|settlement| settlement.ack_ids.len()).sum();
    if ack_ids > limits::ACK_IDS {
        let what = format!("has {ack_ids} ack_ids: one request takes at most {}", limits::ACK_IDS);
        return Err(convert::invalid("settlements", &what));
    }
    for settlement in settlements {
        verdict(settlement)?;
        if settlement.reason.len() > limits::NAME_BYTES {
            let (has, most) = (settlement.reason.len(), limits::NAME_BYTES);
            return Err(convert::invalid(
                "settlements.reason",
                &format!("has {has} bytes: at most {most} are allowed"),
            ));
        }
    }
    Ok(())
}

/// A word for each delivery that is spoken of; they were checked.
pub fn words(settlements: &[pb::Settlement]) -> impl Iterator<Item = Word<'_>> {
    settlements.iter().filter_map(|settlement| Some((settlement, verdict(settlement).ok()?))).flat_map(
        |(settlement, verdict)| {
            settlement.ack_ids.iter().map(move |ack_id| Word { ack_id, verdict, reason: &settlement.reason })
        },
    )
}

fn verdict(settlement: &pb::Settlement) -> Result<Verdict> {
    let delay = match settlement.delay {
        Some(delay) => Some(parse_delay(delay)?),
        None => None,
    };
    Ok(match pb::Verdict::try_from(settlement.verdict) {
        Ok(pb::Verdict::Ack) => Verdict::Ack,
        Ok(pb::Verdict::Nack) => Verdict::Nack { delay },
        Ok(pb::Verdict::Release) => Verdict::Release { delay },
        Ok(pb::Verdict::Reject) => Verdict::Reject,
        Ok(pb::Verdict::Extend) => Verdict::Extend { by: delay.filter(|delay| !delay.is_zero()) },
        Ok(pb::Verdict::Unspecified) => {
            return Err(convert::invalid(
                "settlements.verdict",
                "is missing: say VERDICT_ACK, or what else became of it",
            ));
        }
        Err(_) => return Err(convert::unknown_value(settlement.verdict, "settlements.verdict")),
    })
}

fn parse_delay(delay: prost_types::Duration) -> Result<Duration> {
    const FIELD: &str = "settlements.delay";
    let delay = convert::parse_duration(delay, FIELD)?;
    match delay <= limits::ACK_DEADLINE_MAX {
        true => Ok(delay),
        false => {
            Err(convert::invalid(FIELD, &format!("is {delay:?}: it takes at most {:?}", limits::ACK_DEADLINE_MAX)))
        }
    }
}

/// Whether what is delivered is done.
pub fn is_auto(mode: i32, field: &str) -> Result<bool> {
    match pb::AckMode::try_from(mode) {
        Ok(pb::AckMode::Unspecified | pb::AckMode::Explicit) => Ok(false),
        Ok(pb::AckMode::Auto) => Ok(true),
        Err(_) => Err(convert::unknown_value(mode, field)),
    }
}

/// What became of settlements: those with the same answer together.
pub fn confirmations(told: impl IntoIterator<Item = (String, Result<(), Reason>)>) -> Vec<pb::Confirmation> {
    let mut confirmations: Vec<(Result<(), Reason>, pb::Confirmation)> = Vec::new();
    for (ack_id, result) in told {
        let known = confirmations.iter().position(|(known, _)| *known == result);
        let at = known.unwrap_or_else(|| {
            let (code, reason) = match result {
                Ok(()) => (tonic::Code::Ok, ""),
                Err(reason) => (status::code(reason.code()), reason.as_str()),
            };
            let confirmation = pb::Confirmation { ack_ids: Vec::new(), code: code.into(), reason: reason.to_owned() };
            confirmations.push((result, confirmation));
            confirmations.len() - 1
        });
        confirmations[at].1.ack_ids.push(ack_id);
    }
    confirmations.into_iter().map(|(_, confirmation)| confirmation).collect()
}

//! Which segments may go. Whole segments only, oldest first; the one that is written stays. Pure.

use std::sync::Arc;

use super::segments::Segment;
use crate::{
    engine::LogSettings,
    model::{Sequence, Timestamp},
};

/// The first sequence of the oldest segment that stays.
pub fn first_kept(list: &[Arc<Segment>], settings: &LogSettings, now: Timestamp) -> Sequence {
    let Some((last, sealed)) = list.split_last() else { return Sequence::ZERO };
    let oldest = now.minus(settings.max_age);
    let mut bytes: u64 = list.iter().map(|segment| segment.summary().end).sum();
    for segment in sealed {
        let summary = segment.summary();
        if bytes <= settings.max_bytes && summary.last_time >= oldest {
            return segment.header.first;
        }
        bytes -= summary.end;
    }
    last.header.first
}

/// Whether all that the written segment holds is too old: then it makes way for an empty one, or it would stay for as
/// long as nobody publishes.
pub fn is_stale(list: &[Arc<Segment>], settings: &LogSettings, now: Timestamp) -> bool {
    list.last().is_some_and(|segment| {
        let summary = segment.summary();
        summary.messages > 0 && summary.last_time < now.minus(settings.max_age)
    })
}

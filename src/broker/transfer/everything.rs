//! Reading a log whatever the topics.

use std::sync::Arc;

use crate::{
    engine::{Log, Page, Query},
    model::{Pattern, PatternSet, Result, Sequence, Timestamp},
};

/// Every topic, the broker's own too.
pub fn patterns() -> Arc<PatternSet> {
    Arc::new(PatternSet::new(vec![Pattern::Prefix("".into()), Pattern::Prefix("$".into())]))
}

/// A page of what lies from a position on, up to another one.
pub async fn page(
    log: &dyn Log,
    patterns: &Arc<PatternSet>,
    from: Sequence,
    through: Sequence,
    (max_messages, max_bytes): (usize, usize),
    now: Timestamp,
) -> Result<Page> {
    let query = Query { from, through, patterns, guide: None, filter: None, max_messages, max_bytes, now };
    log.read(query).await
}

/// Whether anything lies there that is still kept.
pub async fn is_there_any(log: &dyn Log, from: Sequence, through: Sequence, now: Timestamp) -> Result<bool> {
    let (patterns, mut from) = (patterns(), from);
    while from <= through {
        let page = page(log, &patterns, from, through, (1, usize::MAX), now).await?;
        if page.messages > 0 {
            return Ok(true);
        }
        if page.end || page.next <= from {
            break;
        }
        from = page.next;
    }
    Ok(false)
}

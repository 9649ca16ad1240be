//! Sends dead letters back to the subscription that gave them up, and to no other: they are handed out again where they
//! lie. Each once.

use std::{sync::Arc, time::Duration};

use super::{hub::Hub, letter};
use crate::{
    broker::Broker,
    engine::Query,
    model::{Error, Filter, NamespaceName, Reason, Records, Result, Sequence, SubscriptionName, Timestamp, limits},
};

/// Dead letters that are looked at together.
const TOGETHER: usize = 256;

/// Which dead letters, and how fast.
#[derive(Clone, Debug, Default)]
pub struct Redrive {
    /// A condition on the dead letters, as written; empty is all.
    pub filter: String,
    /// At most so many; none is all.
    pub most: Option<u64>,
    /// So many in a second; none is no limit.
    pub rate: Option<f64>,
    /// Only count.
    pub dry_run: bool,
}

impl Broker {
    /// Sends dead letters back, oldest first. Answers how many, when a crash can no longer undo it.
    pub async fn redrive(&self, namespace: &NamespaceName, name: &SubscriptionName, redrive: Redrive) -> Result<u64> {
        if let Some(rate) = redrive.rate.filter(|rate| !(1e-3..=1e9).contains(rate)) {
            let message = format!("messages_per_second is {rate}: it takes 0.001 to 1,000,000,000, or none");
            return Err(Error::new(Reason::RequestInvalid, message).field("messages_per_second"));
        }
        let hub = self.adopted(namespace, name).await?;
        hub.redrive(&redrive).await
    }
}

impl Hub {
    async fn redrive(self: &Arc<Self>, redrive: &Redrive) -> Result<u64> {
        let specification = self.specification();
        let patterns = letter::patterns(&specification);
        let own = serde_json::Value::from(specification.name.as_str());
        let own = format!("attributes[\"{}\"] == {own}", letter::SUBSCRIPTION);
        // Checked by itself, so that a refusal shows what the caller wrote.
        let text = match Filter::parse(&redrive.filter)? {
            None => own,
            Some(_) if redrive.filter.len() + own.len() + 8 > limits::FILTER_BYTES => {
                let message = "the filter is too long beside the subscription's name: make it shorter";
                return Err(Error::new(Reason::FilterInvalid, message).field("filter"));
            }
            Some(_) => format!("({own}) && ({})", redrive.filter),
        };
        let filter = Filter::parse(&text)?.map(|filter| self.place.filters.register(filter));
        let filter = filter.as_ref().map(|filter| &filter.alone);
        let (most, mut sent, mut change) = (redrive.most.unwrap_or(u64::MAX), 0, 0);
        let bounds = self.place.log.bounds();
        let mut from = bounds.first;
        self.lock().ledger.forget_letters(from);
        while from <= bounds.end && sent < most {
            let page = self.place.log.read(Query {
                from,
                through: bounds.end,
                patterns: &patterns,
                guide: None,
                filter,
                max_messages: TOGETHER,
                max_bytes: 1 << 20,
                now: Timestamp::EPOCH,
            });
            let page = page.await?;
            let letters = page.runs.iter().flat_map(|run| Records::new(run)).map_while(Result::ok);
            let letters: Vec<_> = letters.map(|record| record.sequence()).collect();
            for letter in letters {
                if sent < most && self.send_back(letter, redrive.dry_run, &mut change) {
                    sent += 1;
                    if let Some(rate) = redrive.rate.filter(|_| !redrive.dry_run) {
                        tokio::time::sleep(Duration::from_secs_f64(1.0 / rate)).await;
                    }
                }
            }
            if page.end || page.next <= from {
                break;
            }
            from = page.next;
        }
        if change > 0 {
            self.kept(change).await?;
        }
        Ok(sent)
    }

    /// Sends one back, if it was not sent back before.
    fn send_back(self: &Arc<Self>, letter: Sequence, dry_run: bool, change: &mut u64) -> bool {
        let mut inner = self.lock();
        if dry_run {
            return !inner.ledger.is_redriven(letter);
        }
        let is_sent = inner.ledger.redrive(letter);
        if is_sent {
            *change = self.changed(&mut inner);
            inner.wake_next();
        }
        is_sent
    }
}

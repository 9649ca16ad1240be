//! Giving a message up: it is put to the dead letters, and settled then. A crash in between leaves it in both places, and
//! the second time it is the same dead letter, by its id.

use std::sync::Arc;

use super::{hub::Hub, ledger::Death, letter};
use crate::{
    engine::{Batch, Query},
    model::{Durability, Message, Reason, Records, Result, Subscription},
};

impl Hub {
    /// Gives up what is to be given up. Answers whether all of it could be.
    pub(super) async fn bury_all(self: &Arc<Self>) -> bool {
        let (deaths, specification) = {
            let mut inner = self.lock();
            (inner.ledger.deaths(), inner.specification.clone())
        };
        let mut is_well = true;
        for death in deaths {
            let buried = self.bury(&death, &specification).await;
            let mut inner = self.lock();
            match buried {
                Ok(()) => {
                    inner.ledger.buried(death.sequence);
                    inner.changes += 1;
                    inner.onlookers.tell();
                    inner.wake_next();
                }
                Err(error) => {
                    let name = &specification.name;
                    tracing::warn!(subscription = %name, sequence = %death.sequence, %error, "a dead letter is not stored");
                    inner.ledger.unburied(death.sequence);
                    is_well = false;
                }
            }
        }
        is_well
    }

    async fn bury(&self, death: &Death, specification: &Subscription) -> Result<()> {
        if specification.dead_letters.drop {
            return Ok(());
        }
        let patterns = match death.is_letter {
            true => letter::patterns(specification),
            false => Arc::new(specification.pattern_set()),
        };
        let page = self.place.log.read(Query {
            from: death.sequence,
            through: death.sequence,
            patterns: &patterns,
            guide: None,
            filter: None,
            max_messages: 1,
            max_bytes: usize::MAX,
            now: self.shared.clock.now(),
        });
        let page = page.await?;
        let record = page.runs.first().and_then(|run| Records::new(run).next()).and_then(Result::ok);
        // What is gone from the log cannot be kept.
        let Some(message) = record.as_ref().and_then(Message::decode) else { return Ok(()) };
        let mut batch = Batch::new(Durability::Synced.min(self.shared.engine.strongest()));
        let most = self.shared.config.message_bytes + letter::BEYOND;
        let dead = letter::write(message, death, specification)?;
        if batch.push(&dead, most, None).is_err() {
            // Its own attributes leave no room for what is said of it, and there is nothing else to leave out.
            let own = |key: &str| key.starts_with(letter::PREFIX);
            let attributes = dead.attributes.into_iter().filter(|(key, _)| own(key)).collect();
            batch.push(&Message { attributes, ..dead }, most, None)?;
        }
        match self.place.log.append(batch).await?.iter().next() {
            Some(Err(error)) if error.reason() != Reason::MessageIdReused => Err(error),
            _ => Ok(()),
        }
    }
}

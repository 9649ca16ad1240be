//! A namespace on its way out: all that it holds at one moment, piece by piece. Takes nothing away.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{Carried, Piece, Totals, everything};
use crate::{
    broker::{Broker, Shared, schedule::Waiting, schemas::Leaving, served::Place},
    model::{Error, Namespace, NamespaceName, PatternSet, Reason, Record, Records, Result, Sequence},
};

/// Messages and bytes in one piece, at most; a larger message goes alone.
const PIECE: (usize, usize) = (512, 256 << 10);

/// What is left of a namespace that goes out.
pub struct Export {
    shared: Arc<Shared>,
    place: Arc<Place>,
    settings: Option<Box<Namespace>>,
    subscriptions: VecDeque<Carried>,
    phase: Phase,
    from: Sequence,
    end: Sequence,
    waiting: Waiting,
    totals: Totals,
}

enum Phase {
    /// What payloads name comes before them.
    Schemas(Leaving),
    /// Everything but what is scheduled, and the marks of the schedule.
    Messages(Arc<PatternSet>),
    /// What is scheduled and waits.
    Scheduled(Arc<PatternSet>),
    Subscriptions,
    Over,
}

impl Broker {
    /// Begins to hand out all that a namespace holds now.
    ///
    /// Where its subscriptions stand is found first, and only then where the log ends. So whatever is settled in between
    /// comes again after the move. The other way round, a message that is given up in between would be lost: settled, and
    /// its dead letter behind the end. What is registered is found last of all: so what a message names is there.
    pub async fn export(&self, namespace: &NamespaceName) -> Result<Export> {
        self.refuse_while_draining()?;
        if !self.shared.works() {
            return Err(self.shared.does_not_work());
        }
        let served = self.served(namespace)?;
        let subscriptions = self.carried(namespace).await?;
        served.place.log.hear_all().await?;
        let bounds = served.place.log.bounds();
        let schemas = served.place.schemas.leave().await?;
        tracing::info!(%namespace, end = %bounds.end, subscriptions = subscriptions.len(), "the namespace is exported");
        Ok(Export {
            shared: self.shared.clone(),
            place: served.place.clone(),
            settings: Some(Box::new(served.settings.clone())),
            subscriptions,
            phase: Phase::Schemas(schemas),
            from: bounds.first,
            end: bounds.end,
            waiting: Waiting::default(),
            totals: Totals::default(),
        })
    }

    /// The subscriptions of a namespace, and where they stand.
    async fn carried(&self, namespace: &NamespaceName) -> Result<VecDeque<Carried>> {
        let mut carried = VecDeque::new();
        for entry in self.subscriptions.after(namespace, "") {
            match self.carry(namespace, &entry.kept.specification.name).await {
                // It was deleted a moment ago.
                Err(error) if error.reason() == Reason::SubscriptionNotFound => {}
                one => carried.push_back(one?),
            }
        }
        Ok(carried)
    }
}

impl Export {
    /// The next piece; none when there is nothing more.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if self.place.is_deleted() {
            return Err(self.place.gone());
        }
        if self.shared.deadline.get().is_some() {
            return Err(self.shared.draining("the broker is stopping, and the export is not complete"));
        }
        if let Some(settings) = self.settings.take() {
            return Ok(Some(Piece::Settings(settings)));
        }
        loop {
            match &mut self.phase {
                Phase::Schemas(leaving) => {
                    if let Some(moved) = leaving.next(&self.place.schemas)? {
                        self.totals.schemas += moved.schemas.len() as u64;
                        self.totals.subjects += moved.subjects.len() as u64;
                        return Ok(Some(Piece::Schemas(moved)));
                    }
                    self.phase = Phase::Messages(everything::patterns());
                }
                Phase::Messages(patterns) => {
                    let patterns = patterns.clone();
                    if let Some(records) = self.read(&patterns, Waiting::note).await? {
                        self.totals.messages += records.len() as u64;
                        return Ok(Some(Piece::Messages(records)));
                    }
                    self.from = self.place.log.bounds().first;
                    self.phase = Phase::Scheduled(Waiting::patterns());
                }
                Phase::Scheduled(patterns) => {
                    let patterns = patterns.clone();
                    if let Some(records) = self.read(&patterns, |waiting, record| Ok(waiting.waits(record))).await? {
                        self.totals.scheduled += records.len() as u64;
                        return Ok(Some(Piece::Scheduled(records)));
                    }
                    self.phase = Phase::Subscriptions;
                }
                Phase::Subscriptions => {
                    if let Some(carried) = self.subscriptions.pop_front() {
                        self.totals.subscriptions += 1;
                        return Ok(Some(Piece::Subscription(Box::new(carried))));
                    }
                    self.phase = Phase::Over;
                    return Ok(Some(Piece::End(self.totals)));
                }
                Phase::Over => return Ok(None),
            }
        }
    }

    /// The next records that are wanted; none at the end.
    async fn read(
        &mut self,
        patterns: &Arc<PatternSet>,
        wants: impl Fn(&mut Waiting, &Record<'_>) -> Result<bool>,
    ) -> Result<Option<Vec<Bytes>>> {
        while self.from <= self.end {
            let now = self.shared.clock.now();
            let page = everything::page(&*self.place.log, patterns, self.from, self.end, PIECE, now).await?;
            let mut records = Vec::with_capacity(page.messages);
            for run in &page.runs {
                for record in Records::new(run) {
                    let record = record.map_err(|_| self.broken("bytes that are no message"))?;
                    if wants(&mut self.waiting, &record)? {
                        records.push(run.slice_ref(record.framed()));
                    }
                }
            }
            self.from = match page.end {
                true => self.end.next(),
                false if page.next > self.from => page.next,
                false => return Err(self.broken("no way on")),
            };
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// Better no export than one that is not whole.
    fn broken(&self, what: &str) -> Error {
        let message = format!("there is {what} at position {} of namespace {}", self.from, self.place.name);
        Error::new(Reason::StorageCorrupt, message)
    }
}

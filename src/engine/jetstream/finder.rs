//! Finds what lies in a stream: where a sequence or a time is, pages of old records, topics and what they have. NATS knows
//! positions and subjects; sequences and times are looked for between them, by halves. Never changes anything.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Entry,
    entry::Author,
    log::{JetStreamLog, PAGE_BYTES, PAGE_ENTRIES},
    stream::Ends,
    subject,
};
use crate::{
    engine::{Block, LookBack, Page, Query, TopicStats},
    model::{Gap, GapReason, Pattern, PatternSet, Result, Sequence, Timestamp},
};

/// Places that are remembered.
const PLACES: usize = 50_000;
/// Pages that are fetched for one of ours: then others have their turn.
const FETCHES: usize = 8;
/// Topics that are asked about at a time.
const ASKED: usize = 32;
/// A replica that is behind is asked again after this.
const AGAIN: Duration = Duration::from_millis(20);

/// Where entries were found, the newest of them: by their first sequence.
#[derive(Default)]
pub struct Places(BTreeMap<Sequence, (u64, Author)>);

impl Places {
    /// Remembers where an entry is.
    pub fn note(&mut self, entry: &Entry) {
        self.0.insert(entry.first, (entry.position, entry.author));
        if self.0.len() > PLACES {
            self.0.pop_first();
        }
    }

    /// Who wrote the entry that begins with a sequence.
    pub fn author(&self, first: Sequence) -> Option<Author> {
        self.0.get(&first).map(|(_, author)| *author)
    }

    /// Between which positions a sequence lies; None where nothing is known.
    fn around(&self, sequence: Sequence) -> (Option<u64>, Option<u64>) {
        let before = self.0.range(..=sequence).next_back().map(|(_, (position, _))| *position);
        let behind = self.0.range(sequence.next()..).next().map(|(_, (position, _))| *position);
        (before, behind)
    }
}

impl JetStreamLog {
    /// The position of the entry that holds a sequence, or of the first behind it; the one behind the end if there is none.
    async fn position_of(&self, sequence: Sequence) -> Result<u64> {
        let (before, behind) = self.places().around(sequence);
        let end = self.known().position + 1;
        self.halve(before.unwrap_or(1), behind.unwrap_or(end), |entry| entry.last() < sequence).await
    }

    /// The position of the first entry that was published at a time or later; the one behind the end if there is none.
    pub(super) async fn position_at(&self, time: Timestamp, ends: Ends) -> Result<u64> {
        // All records of an entry were published at once.
        self.halve(ends.first, ends.last + 1, |entry| entry.head().publish_time() < time).await
    }

    /// The position of the first entry from `low` on that is not `before` what is looked for; `high` if all are.
    async fn halve(&self, mut low: u64, mut high: u64, before: impl Fn(&Entry) -> bool) -> Result<u64> {
        let mut found = high;
        while low < high {
            let middle = low.midpoint(high);
            let probe = self.stream.read(middle, None, 1, 1).await?.entries.pop();
            if let Some(entry) = &probe {
                self.places().note(entry);
            }
            match probe {
                Some(entry) if before(&entry) => low = entry.position + 1,
                Some(entry) => (found, high) = (found.min(entry.position), middle),
                None => high = middle,
            }
        }
        Ok(found)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("nobody panics while holding it")
    }

    /// The first sequence that was published at a time or later, or the one behind the end.
    pub(super) async fn sequence_at(&self, time: Timestamp) -> Result<Sequence> {
        let committed = self.tail.committed();
        let position = self.position_at(time, self.stream.ends().await?).await?;
        let entry = self.stream.next(position, ">").await?;
        Ok(entry.map_or(committed.next(), |entry| entry.first.min(committed.next())))
    }

    /// A page of what is not in memory any more.
    pub(super) async fn read_stored(&self, query: &Query<'_>) -> Result<Page> {
        let (through, first, marks) = (query.through.min(self.tail.committed()), self.first(), self.tail.marks());
        let mut page = Page::new(query.from.max(first));
        let wanted = query.from.max(Sequence::FIRST);
        if wanted < first {
            page.gap = Some(Gap { reason: GapReason::Retention, first: wanted, last: first.previous() });
        }
        if page.next > through {
            page.end = true;
            return Ok(page);
        }
        let filter = self.filter(query.patterns);
        let mut position = self.position_of(page.next).await?;
        for _ in 0..FETCHES {
            let entries = query.max_messages.clamp(1, PAGE_ENTRIES);
            let found = self.stream.read(position, filter.as_deref(), entries, query.max_bytes.min(PAGE_BYTES)).await?;
            position = found.next;
            for entry in found.entries {
                if entry.first > through {
                    page.go_on(through.next());
                    page.end = true;
                    return Ok(page);
                }
                if entry.last() < page.next {
                    continue;
                }
                self.places().note(&entry);
                match filter.is_some() {
                    // What lies between is none of what was asked for.
                    true => page.go_on(entry.first),
                    false => page.skip_to(entry.first),
                }
                let block = Block::index(entry.records.clone(), entry.first, entry.expires);
                let Ok(block) = block else { continue };
                if page.is_tired(query) || !block.select(query, &marks, &mut page) {
                    return Ok(page);
                }
            }
            if !found.end {
                continue;
            }
            // A replica that is behind knows no better: the leader does.
            let more = match page.next > through {
                true => None,
                false => self.stream.next(position, filter.as_deref().unwrap_or(">")).await?,
            };
            if more.is_none_or(|entry| entry.first > through) {
                page.go_on(through.next());
                page.end = true;
                return Ok(page);
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(page)
    }

    /// The subjects to which a reader can be held, if that leaves anything out.
    fn filter(&self, patterns: &PatternSet) -> Option<String> {
        match patterns.patterns() {
            [one] if !patterns.wants_all() => Some(subject::filter(&self.namespace, one)),
            _ => None,
        }
    }

    /// A step back.
    pub(super) async fn look_further_back(&self, mut search: LookBack) -> Result<LookBack> {
        let marks = self.tail.marks();
        if search.before <= self.first() {
            search.done = true;
            return Ok(search);
        }
        let ends = self.stream.ends().await?;
        // Everything from here on has been looked at.
        let mut behind = self.position_of(search.before).await?;
        if let [Pattern::Exact(topic)] = search.patterns.patterns()
            && behind > ends.first
        {
            // What lies in between is none of it.
            let newest = self.stream.newest_up_to(topic, behind - 1).await?;
            behind = newest.map_or(ends.first, |entry| entry.position + 1);
        }
        let mut entries = PAGE_ENTRIES as u64;
        while !search.done {
            if behind <= ends.first {
                search.done = true;
                break;
            }
            let from = behind.saturating_sub(entries).max(ends.first);
            let found = self.stream.read(from, None, (behind - from) as usize, PAGE_BYTES).await?;
            if found.next < behind && !found.end && entries > 1 {
                // They are too large to be had at once, and the last ones are wanted.
                entries = entries.div_ceil(4);
                continue;
            }
            let looked: Vec<_> = found.entries.into_iter().filter(|entry| entry.position < behind).collect();
            for entry in looked.iter().rev() {
                if search.done {
                    break;
                }
                if let Ok(block) = Block::index(entry.records.clone(), entry.first, entry.expires) {
                    search.search(&block, &marks);
                }
            }
            behind = from;
            if !looked.is_empty() {
                search.done |= behind <= ends.first;
                break;
            }
        }
        Ok(search)
    }

    /// What is kept of topics.
    pub(super) async fn list_topics(&self, pattern: &Pattern, after: &str, most: usize) -> Result<Vec<TopicStats>> {
        let topics = self.stream.topics(&subject::filter(&self.namespace, pattern)).await?;
        let wanted = topics.into_keys().filter(|topic| topic.as_str() > after && pattern.matches(topic));
        let rows = stream::iter(wanted.map(|topic| self.topic(topic))).buffered(ASKED);
        rows.try_filter_map(async |row| Ok(row)).take(most).try_collect().await
    }

    /// What is kept of a topic; None if nothing is.
    async fn topic(&self, name: String) -> Result<Option<TopicStats>> {
        let Some(newest) = self.stream.newest(&name).await? else { return Ok(None) };
        let hidden = self.tail.marks().hidden_through(&name);
        if newest.last() <= hidden {
            return Ok(None);
        }
        let from = if hidden == Sequence::ZERO { 1 } else { self.position_of(hidden.next()).await? };
        let subject = subject::of_topic(&self.namespace, &name);
        let Some(oldest) = self.stream.next(from, &subject).await? else { return Ok(None) };
        let seen = oldest.iter().filter(|record| record.sequence() > hidden);
        let (count, bytes) =
            seen.fold((0, 0), |(count, bytes), record| (count + 1, bytes + record.framed().len() as u64));
        Ok(Some(TopicStats {
            name,
            first: oldest.first.max(hidden.next()),
            last: newest.last(),
            messages: newest.totals.messages - oldest.totals.messages + count,
            bytes: newest.totals.bytes - oldest.totals.bytes + bytes,
            last_publish_time: newest.head().publish_time(),
        }))
    }

    /// How many messages of topics that match are there, up to a sequence.
    pub(super) async fn count(&self, pattern: &Pattern, through: Sequence) -> Result<u64> {
        if through >= self.tail.committed() {
            return Ok(self.list_topics(pattern, "", usize::MAX).await?.iter().map(|row| row.messages).sum());
        }
        let patterns = Arc::new(PatternSet::parse(&[pattern.to_string()])?);
        let (mut from, mut count) = (self.first(), 0);
        loop {
            let query = Query {
                from,
                through,
                patterns: &patterns,
                guide: None,
                filter: None,
                max_messages: 8_192,
                max_bytes: PAGE_BYTES,
                // What has expired is there as well.
                now: Timestamp::EPOCH,
            };
            let page = self.read_stored(&query).await?;
            count += page.messages as u64;
            if page.end {
                return Ok(count);
            }
            from = page.next;
        }
    }
}

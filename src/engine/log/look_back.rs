//! Looks back through a log's segments, from its end. Blocks on the disk, so it runs where blocking is allowed.

use std::collections::{BinaryHeap, HashMap};

use super::{
    reader::EFFORT,
    segments::{Segment, Segments, Stretch},
};
use crate::{
    engine::{LookBack, Wanted, purge::PurgeMarks},
    model::{PatternSet, Result},
};

impl Segments {
    /// Goes on with a search, for about as many bytes as a reader goes through at a time.
    pub fn look_back(&self, search: &mut LookBack, marks: &PurgeMarks) -> Result<()> {
        let mut effort = 0;
        for segment in self.list().iter().rev() {
            if segment.header.first >= search.before {
                continue;
            }
            let searched = match search.wanted {
                Wanted::Last(_) => self.look_at_all(segment, search, marks, &mut effort),
                Wanted::OfEachTopic(_) => self.look_for_topics(segment, search, marks, &mut effort),
            };
            match searched {
                // Retention took it while it was read, and with it all before.
                Err(_) if self.first() > segment.header.first => break,
                searched => searched?,
            }
            if search.done || effort >= EFFORT {
                return Ok(());
            }
            search.reach(segment.header.first);
        }
        search.done = true;
        Ok(())
    }

    /// Every span that may hold a topic that matches, the last first.
    fn look_at_all(
        &self,
        segment: &Segment,
        search: &mut LookBack,
        marks: &PurgeMarks,
        effort: &mut u64,
    ) -> Result<()> {
        let mut stretches = self.stretches(segment, segment.header.first, 0, &search.patterns, usize::MAX)?;
        stretches.retain(|stretch| stretch.first < search.before);
        while let Some(stretch) = stretches.pop()
            && !search.done
            && *effort < EFFORT
        {
            self.look_at(segment, &stretch, search, marks, effort)?;
        }
        Ok(())
    }

    /// The last span of each topic that is still missed; and the one before where nothing in that one counts.
    fn look_for_topics(
        &self,
        segment: &Segment,
        search: &mut LookBack,
        marks: &PurgeMarks,
        effort: &mut u64,
    ) -> Result<()> {
        let topics = self.missed(segment, search)?;
        let stretches = self.stretches(segment, segment.header.first, 0, &PatternSet::all(), usize::MAX)?;
        let open = stretches.partition_point(|stretch| stretch.first < search.before) as u32;
        let last_below = |spans: &[u32], end: u32| spans[..spans.partition_point(|&span| span < end)].last().copied();
        let mut next: BinaryHeap<(u32, usize)> = BinaryHeap::new();
        for (at, (_, spans)) in topics.iter().enumerate() {
            next.extend(last_below(spans, open).map(|span| (span, at)));
        }
        while let Some(&(span, _)) = next.peek() {
            if search.done || *effort >= EFFORT {
                break;
            }
            self.look_at(segment, &stretches[span as usize], search, marks, effort)?;
            while let Some(&(_, at)) = next.peek().filter(|(same, _)| *same == span) {
                next.pop();
                let (name, spans) = &topics[at];
                if search.misses(name) {
                    next.extend(last_below(spans, span).map(|span| (span, at)));
                }
            }
        }
        Ok(())
    }

    /// The topics of a segment that a search still misses, with their spans.
    fn missed(&self, segment: &Segment, search: &LookBack) -> Result<Vec<(String, Vec<u32>)>> {
        let mut topics = HashMap::new();
        for pattern in search.patterns.patterns() {
            for (name, entry) in self.matching(segment, pattern)? {
                if search.misses(&name) {
                    topics.insert(name, entry.spans);
                }
            }
        }
        Ok(topics.into_iter().collect())
    }

    fn look_at(
        &self,
        segment: &Segment,
        stretch: &Stretch,
        search: &mut LookBack,
        marks: &PurgeMarks,
        effort: &mut u64,
    ) -> Result<()> {
        let blocks = self.blocks(segment, std::slice::from_ref(stretch), false)?;
        for block in blocks.iter().flat_map(|blocks| blocks.iter().rev()) {
            search.search(block, marks);
        }
        *effort += stretch.range.end - stretch.range.start;
        Ok(())
    }
}

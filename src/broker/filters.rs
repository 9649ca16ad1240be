//! The filters of a namespace's streams. At the live edge all of them are asked together, once a message, however many
//! streams use them; what they said is kept for the newest blocks. Whoever reads what lies further back asks his own.
//! Never chooses by topic: it is asked only about what a stream's patterns want.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    engine::{self, Block, filter::GROUP},
    model::{Filter, Sequence, filter::Program},
    telemetry::NamespaceMetrics,
};

/// Memory for what a namespace's filters said of the newest blocks. A block for which it would not do is not kept: then
/// every stream asks its own filter.
const KEPT_BYTES: usize = 4 << 20;

/// The filters of one namespace.
pub struct Filters {
    metrics: Arc<NamespaceMetrics>,
    used: Mutex<Used>,
    // By the blocks' first sequences, rising.
    kept: Mutex<Kept>,
}

/// Which filters are in use.
#[derive(Default)]
struct Used {
    known: HashMap<Arc<Filter>, Known>,
    last: u64,
    // None since a filter came or went.
    together: Option<Arc<Together>>,
}

/// A filter that is in use.
struct Known {
    number: u64,
    streams: usize,
    alone: Arc<Alone>,
}

/// All filters that were in use at a moment.
struct Together {
    program: Program,
    // The filters' numbers, rising.
    numbers: Vec<u64>,
}

#[derive(Default)]
struct Kept {
    verdicts: VecDeque<Arc<Verdicts>>,
    bytes: usize,
}

/// What was said of one block.
struct Verdicts {
    first: Sequence,
    together: Arc<Together>,
    bytes: usize,
    groups: Mutex<Vec<Group>>,
}

/// What was said of 64 records: of which, and which of them each filter takes.
#[derive(Clone, Default)]
struct Group {
    asked: u64,
    taken: Box<[u64]>,
}

/// A stream's filter; it goes with this.
pub struct Registration {
    filters: Arc<Filters>,
    filter: Arc<Filter>,
    /// For what lies in memory, where others ask about the same.
    pub shared: Arc<dyn engine::Filter>,
    /// For what is read from the log.
    pub alone: Arc<dyn engine::Filter>,
}

impl Filters {
    /// None yet.
    pub fn new(metrics: Arc<NamespaceMetrics>) -> Self {
        Filters { metrics, used: Mutex::default(), kept: Mutex::default() }
    }

    /// A stream uses a filter from now on.
    pub fn register(self: &Arc<Self>, filter: Filter) -> Registration {
        let filter = Arc::new(filter);
        let mut used = self.used();
        if !used.known.contains_key(&filter) {
            used.last += 1;
            used.together = None;
            let alone = Arc::new(Alone { program: Program::new([&*filter]), metrics: self.metrics.clone() });
            let known = Known { number: used.last, streams: 0, alone };
            used.known.insert(filter.clone(), known);
        }
        let known = used.known.get_mut(&filter).expect("it is there by now");
        known.streams += 1;
        let (number, alone) = (known.number, known.alone.clone());
        let shared = Arc::new(Shared { filters: self.clone(), number, alone: alone.clone() });
        drop(used);
        Registration { filters: self.clone(), filter, shared, alone }
    }

    /// What is kept of a block, or will be; None where it is not worth it, or takes too much.
    fn verdicts(&self, block: &Block) -> Option<Arc<Verdicts>> {
        let mut kept = self.kept();
        let at = match kept.verdicts.binary_search_by_key(&block.first(), |verdicts| verdicts.first) {
            Ok(at) => return Some(kept.verdicts[at].clone()),
            Err(at) => at,
        };
        let together = self.used().together()?;
        let groups = block.len().div_ceil(GROUP);
        let bytes = groups * (size_of::<Group>() + size_of::<u64>() * together.numbers.len());
        // What is older than all that is kept takes the place of none.
        let oldest = at == 0 && !kept.verdicts.is_empty();
        if bytes > KEPT_BYTES || (oldest && kept.bytes + bytes > KEPT_BYTES) {
            return None;
        }
        let groups = Mutex::new(vec![Group::default(); groups]);
        let verdicts = Arc::new(Verdicts { first: block.first(), together, bytes, groups });
        kept.verdicts.insert(at, verdicts.clone());
        kept.bytes += bytes;
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.verdicts.pop_front() else { break };
            kept.bytes -= oldest.bytes;
        }
        Some(verdicts)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().expect("nobody panics while holding the filters")
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding what was said")
    }
}

impl Used {
    /// All filters, made ready anew if any came or went. None if there is but one stream: it asks by itself.
    fn together(&mut self) -> Option<Arc<Together>> {
        if self.known.len() == 1 && self.known.values().all(|known| known.streams == 1) {
            return None;
        }
        let known = &self.known;
        let make = || {
            let mut filters: Vec<_> = known.iter().map(|(filter, known)| (known.number, &**filter)).collect();
            filters.sort_unstable_by_key(|(number, _)| *number);
            let program = Program::new(filters.iter().map(|(_, filter)| *filter));
            Arc::new(Together { program, numbers: filters.iter().map(|(number, _)| *number).collect() })
        };
        Some(self.together.get_or_insert_with(make).clone())
    }
}

impl Verdicts {
    /// What a filter takes. Asks all filters about what nobody has asked about.
    fn choose(&self, block: &Block, group: usize, wanted: u64, filter: usize, metrics: &NamespaceMetrics) -> u64 {
        let mut groups = self.groups.lock().expect("nobody panics while holding a group");
        let Group { asked, taken } = &mut groups[group];
        let new = wanted & !*asked;
        if new != 0 {
            metrics.filtered_messages.inc_by(new.count_ones().into());
            let said = self.together.program.run(new, |row| block.row(group * GROUP + row));
            match taken.is_empty() {
                true => *taken = said,
                false => taken.iter_mut().zip(&said).for_each(|(taken, said)| *taken |= said),
            }
            *asked |= new;
        }
        taken[filter] & wanted
    }
}

/// A filter that is asked together with all others.
struct Shared {
    filters: Arc<Filters>,
    number: u64,
    alone: Arc<Alone>,
}

impl engine::Filter for Shared {
    fn choose(&self, block: &Block, group: usize, wanted: u64) -> u64 {
        let known = self.filters.verdicts(block);
        // One that came later than the others were asked has no place among them.
        let place = known.and_then(|verdicts| {
            let place = verdicts.together.numbers.binary_search(&self.number).ok()?;
            Some((verdicts, place))
        });
        match place {
            Some((verdicts, place)) => verdicts.choose(block, group, wanted, place, &self.filters.metrics),
            None => self.alone.choose(block, group, wanted),
        }
    }
}

/// A filter that is asked by itself.
struct Alone {
    program: Program,
    metrics: Arc<NamespaceMetrics>,
}

impl engine::Filter for Alone {
    fn choose(&self, block: &Block, group: usize, wanted: u64) -> u64 {
        self.metrics.filtered_messages.inc_by(wanted.count_ones().into());
        self.program.run(wanted, |row| block.row(group * GROUP + row))[0]
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut used = self.filters.used();
        let known = used.known.get_mut(&self.filter).expect("it is there as long as a stream uses it");
        known.streams -= 1;
        if known.streams == 0 {
            used.known.remove(&self.filter);
            used.together = None;
        }
        let deserted = used.known.is_empty();
        drop(used);
        if deserted {
            *self.filters.kept() = Kept::default();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter {}", self.number)
    }
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter by itself")
    }
}

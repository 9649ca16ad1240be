//! Which streams want which topics, and waking those that wait: one a namespace. Never reads a record, and never waits:
//! it is told of each block by the thread that writes the log.
//!
//! A stream that has read everything parks its [`Seat`]. A block that holds one of its topics calls it, once, and
//! tells it where that block begins: all blocks between its parking and that one held nothing for it, so it goes on
//! there. A stream is not called for a block without its topics, however many there are, nor does it read them.
//!
//! Of a block with many topics the router also remembers, for a while, who wants which of them: so that a hundred streams
//! do not look each at all of it.

pub mod index;
mod radix;
mod routes;

use std::{
    collections::VecDeque,
    fmt, ptr,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use atomic_waker::AtomicWaker;
use tokio::runtime::Handle;

use self::{
    index::{Index, Slot},
    routes::Routes,
};
use crate::{
    engine::{Block, Follower, Guide},
    model::{PatternSet, Sequence},
};

/// Streams that are woken by the thread that writes. Each costs it about a microsecond, and maybe a wake-up of a worker
/// (tens of them); more are handed to one task, which wakes them on a worker, where it is a push to a local queue.
const WOKEN_HERE: usize = 16;

/// A block with fewer topics has no routes: its streams find what they want as fast by themselves.
const ROUTED_TOPICS: usize = 16;
/// Pairs of streams and topics that the routes of a block hold, for each of its topics. Beyond, there are none.
const ROUTED_PAIRS: usize = 16;
/// Memory for the routes of a namespace's newest blocks.
const ROUTES_BYTES: usize = 4 << 20;

/// The streams of one namespace.
pub struct Router {
    runtime: Handle,
    // Every block up to here has been looked at, and whom it concerns was called.
    routed: AtomicU64,
    table: Mutex<Table>,
    // Of the newest blocks that have any.
    routes: Mutex<Kept>,
}

#[derive(Default)]
struct Table {
    index: Index,
    seats: Vec<Option<Arc<Seat>>>,
    free: Vec<Slot>,
    // Counts the streams that came and went.
    changes: u64,
    // The last sequence that was looked for routes.
    seen: Sequence,
    coming: Option<Coming>,
}

/// The block that comes next.
struct Coming {
    // It may never come: then it is not held. What has no strong reference left still keeps its address.
    block: Weak<Block>,
    // As of when its routes were made.
    changes: u64,
    routes: Option<Arc<Routes>>,
}

#[derive(Default)]
struct Kept {
    routes: VecDeque<Arc<Routes>>,
    bytes: usize,
}

impl Router {
    /// One without streams, for a log whose committed end is `end`.
    pub fn new(end: Sequence, runtime: Handle) -> Self {
        Router { runtime, routed: AtomicU64::new(end.0), table: Mutex::default(), routes: Mutex::default() }
    }

    /// Gives a stream its seat. It is given back when the registration is dropped.
    pub fn register(self: &Arc<Self>, patterns: Arc<PatternSet>) -> Registration {
        let seat = Arc::new(Seat { waker: AtomicWaker::new(), state: AtomicU64::new(AWAKE) });
        let mut table = self.table();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.seats.push(None);
            table.seats.len() as Slot - 1
        });
        table.seats[slot as usize] = Some(seat.clone());
        patterns.patterns().iter().for_each(|pattern| table.index.insert(pattern, slot));
        table.changes += 1;
        let since = table.seen;
        drop(table);
        Registration { router: self.clone(), seat, slot, since, patterns }
    }

    /// Wakes every stream, whatever it waits for.
    pub fn wake_all(&self) {
        let seats: Vec<_> = self.table().seats.iter().flatten().cloned().collect();
        seats.iter().for_each(|seat| seat.waker.wake());
    }

    /// The routes of a block, if it has any.
    fn routes_of(&self, first: Sequence) -> Option<Arc<Routes>> {
        let kept = self.kept();
        let at = kept.routes.binary_search_by_key(&first, |routes| routes.first).ok()?;
        Some(kept.routes[at].clone())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.routes.lock().expect("nobody panics while holding the routes")
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding the table")
    }
}

impl Coming {
    fn is_of(&self, block: &Arc<Block>) -> bool {
        ptr::eq(self.block.as_ptr(), Arc::as_ptr(block))
    }
}

impl Kept {
    fn push(&mut self, routes: Arc<Routes>) {
        self.bytes += routes.footprint();
        self.routes.push_back(routes);
        while self.bytes > ROUTES_BYTES {
            let Some(oldest) = self.routes.pop_front() else { break };
            self.bytes -= oldest.footprint();
        }
    }
}

impl Table {
    /// Whether it is worth while to make routes for a block.
    fn routes_pay(&self, block: &Block) -> bool {
        let crowded = self.seats.len() > self.free.len() + 1 && !self.index.is_plain();
        crowded && block.topics().len() >= ROUTED_TOPICS
    }

    /// Makes the routes of a block that nobody sees yet, once.
    fn route(&mut self, block: &Arc<Block>) -> Option<&Arc<Routes>> {
        if self.coming.as_ref().is_none_or(|coming| !coming.is_of(block)) {
            self.seen = block.last();
            let most = block.topics().len() * ROUTED_PAIRS;
            let routes = match self.routes_pay(block) {
                true => self.index.routes(block.first(), block.topics(), most).map(Arc::new),
                false => None,
            };
            self.coming = Some(Coming { block: Arc::downgrade(block), changes: self.changes, routes });
        }
        self.coming.as_ref()?.routes.as_ref()
    }

    /// Tells `found` which streams want anything of a block.
    fn visit(&mut self, block: &Arc<Block>, mut found: impl FnMut(&Arc<Seat>)) {
        let Table { index, seats, changes, coming, .. } = self;
        let mut found = |slot: Slot| found(seats[slot as usize].as_ref().expect("a slot in the index is taken"));
        let made = coming.take().filter(|coming| coming.changes == *changes && coming.is_of(block));
        match made.and_then(|coming| coming.routes) {
            Some(routes) => {
                routes.slots().for_each(&mut found);
                if !block.is_reserved() {
                    index.wanting_all().iter().copied().for_each(found);
                }
            }
            None => index.visit(block.topics(), found),
        }
    }
}

impl Follower for Router {
    fn foreseen(self: Arc<Self>, block: &Arc<Block>) {
        if self.table().routes_pay(block) {
            let (router, block) = (self.clone(), Arc::downgrade(block));
            // Whoever writes the log waits for the disk meanwhile.
            self.runtime.spawn(async move {
                let Some(block) = block.upgrade() else { return };
                let mut table = router.table();
                if table.seen < block.last() {
                    table.route(&block);
                }
            });
        }
    }

    fn coming(&self, block: &Arc<Block>) {
        let routes = self.table().route(block).cloned();
        if let Some(routes) = routes {
            self.kept().push(routes);
        }
    }

    fn committed(&self, block: &Arc<Block>) {
        // Pairs with the fence in `Seat::park`: either that stream sees this block's end, or it is seen parked here.
        fence(Ordering::SeqCst);
        let mut called = Vec::new();
        self.table().visit(block, |seat| {
            if seat.call(block.first()) {
                called.extend(seat.waker.take());
            }
        });
        self.routed.store(block.last().0, Ordering::Release);
        if called.len() <= WOKEN_HERE {
            called.into_iter().for_each(|waker| waker.wake());
        } else {
            self.runtime.spawn(async move { called.into_iter().for_each(|waker| waker.wake()) });
        }
    }
}

/// Where a stream waits.
struct Seat {
    waker: AtomicWaker,
    // `AWAKE`, `PARKED`, or the first sequence of the block that called. Only the stream leaves the other two; only
    // the router leaves `PARKED` besides.
    state: AtomicU64,
}

/// The stream looks for itself.
const AWAKE: u64 = 0;
/// The stream has read everything and waits to be called.
const PARKED: u64 = u64::MAX;

impl Seat {
    /// Calls the stream if it is parked. Answers whether it was.
    fn call(&self, first: Sequence) -> bool {
        // Most streams of a busy namespace are awake: a load is cheaper than a failed exchange.
        self.state.load(Ordering::Relaxed) == PARKED
            && self.state.compare_exchange(PARKED, first.0, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// A stream's place with the router.
pub struct Registration {
    router: Arc<Router>,
    seat: Arc<Seat>,
    slot: Slot,
    // Of blocks up to here the routes know nothing of this stream.
    since: Sequence,
    patterns: Arc<PatternSet>,
}

impl Guide for Registration {
    fn topics(&self, block: &Block) -> Option<Vec<u32>> {
        if block.first() <= self.since || self.patterns.wants_all() {
            return None;
        }
        Some(self.router.routes_of(block.first())?.topics(self.slot))
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("slot", &self.slot).field("patterns", &self.patterns).finish()
    }
}

/// What became of a stream's seat since it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It was never parked: look what there is.
    Awake,
    /// It is parked and nothing has come. All up to here held nothing for it.
    Parked(Sequence),
    /// It was parked, and a block that begins here has something for it; nothing before has.
    Called(Sequence),
}

impl Registration {
    /// What the stream wants.
    pub fn patterns(&self) -> &Arc<PatternSet> {
        &self.patterns
    }

    /// Names who is woken. To be done before looking for what there is.
    pub fn listen(&self, waker: &std::task::Waker) {
        self.seat.waker.register(waker);
    }

    /// Parks. The stream must look at the committed end once more, and [`Registration::unpark`] if there is more.
    pub fn park(&self) {
        self.seat.state.store(PARKED, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes it back: the stream has seen for itself that there is more.
    pub fn unpark(&self) {
        // By now a later block may have called: its word would skip what the stream has seen, so it does not count.
        self.seat.state.swap(AWAKE, Ordering::Acquire);
    }

    /// What has come since. A call is told once; from then on the stream is awake.
    pub fn answer(&self) -> Call {
        // Read first: what is routed afterwards may have called, and that is seen below.
        let routed = Sequence(self.router.routed.load(Ordering::Acquire));
        match self.seat.state.load(Ordering::Acquire) {
            AWAKE => Call::Awake,
            PARKED => Call::Parked(routed),
            first => {
                self.seat.state.store(AWAKE, Ordering::Relaxed);
                Call::Called(Sequence(first))
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.router.table();
        self.patterns.patterns().iter().for_each(|pattern| table.index.remove(pattern, self.slot));
        table.changes += 1;
        table.seats[self.slot as usize] = None;
        table.free.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use bytes::Bytes;

    use super::*;
    use crate::model::{Message, Payload, Stamp, Timestamp, Topic, limits};

    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn block(first: u64, topics: &[&str]) -> Arc<Block> {
        let mut bytes = Vec::new();
        for (at, topic) in topics.iter().enumerate() {
            let message = Message::new(Topic::parse(*topic).unwrap(), Payload::None);
            message.encode(limits::MESSAGE_BYTES, &mut bytes).unwrap();
            Stamp::new(Timestamp::EPOCH).put(&mut bytes, Sequence(first + at as u64));
        }
        Arc::new(Block::index(Bytes::from(bytes), Sequence(first), false).unwrap())
    }

    fn stream(router: &Arc<Router>, patterns: &[&str]) -> (Registration, Arc<Count>) {
        let registration = router.register(Arc::new(PatternSet::parse(patterns).unwrap()));
        let count = Arc::new(Count(AtomicU64::new(0)));
        registration.listen(&count.clone().into());
        (registration, count)
    }

    #[tokio::test]
    async fn only_whom_a_block_concerns_is_called_and_only_once() {
        let router = Arc::new(Router::new(Sequence::ZERO, Handle::current()));
        let (a, a_woken) = stream(&router, &["a~", "aa"]);
        let (b, b_woken) = stream(&router, &["b"]);
        let (all, all_woken) = stream(&router, &["~"]);
        let woken = || [&a_woken, &b_woken, &all_woken].map(|count| count.0.load(Ordering::Relaxed));

        router.committed(&block(1, &["a", "b"]));
        assert_eq!((a.answer(), woken()), (Call::Awake, [0, 0, 0]));

        for stream in [&a, &b, &all] {
            stream.park();
        }
        router.committed(&block(3, &["b", "$b"]));
        router.committed(&block(5, &["x", "b"]));
        router.committed(&block(7, &["aa", "ab", "b"]));
        assert_eq!(woken(), [1, 1, 1]);
        assert_eq!([a.answer(), b.answer(), all.answer()], [7, 3, 3].map(|first| Call::Called(Sequence(first))));
        assert_eq!([a.answer(), b.answer(), all.answer()], [Call::Awake; 3]);

        a.park();
        router.committed(&block(10, &["b", "$a"]));
        assert_eq!(a.answer(), Call::Parked(Sequence(11)));
        a.unpark();
        assert_eq!(a.answer(), Call::Awake);
    }

    #[tokio::test]
    async fn many_are_woken_by_a_task_and_gone_streams_not_at_all() {
        let router = Arc::new(Router::new(Sequence::ZERO, Handle::current()));
        let mut streams: Vec<_> = (0..20).map(|_| stream(&router, &["t", "t~"])).collect();
        let gone = streams.split_off(10);
        let gone: Vec<_> = gone.into_iter().map(|(_, count)| count).collect();
        streams.iter().for_each(|(stream, _)| {
            stream.listen(&streams[0].1.clone().into());
            stream.park();
        });
        router.committed(&block(1, &["t"]));
        tokio::task::yield_now().await;
        assert_eq!(streams[0].1.0.load(Ordering::Relaxed), 10);
        assert!(gone.iter().all(|count| count.0.load(Ordering::Relaxed) == 0));
        drop(streams);
        let table = router.table();
        assert!(table.index.is_empty() && table.free.len() == 20);
    }

    #[tokio::test]
    async fn a_block_that_was_foreseen_may_never_come() {
        let router = Arc::new(Router::new(Sequence::ZERO, Handle::current()));
        let (a, _) = stream(&router, &["a~"]);
        let (b, _) = stream(&router, &["b~"]);
        let names = |first: char| (0..ROUTED_TOPICS).map(|at| format!("{first}{at:02}")).collect::<Vec<_>>();
        let [refused, came] = ['a', 'b'].map(|first| {
            let names = names(first);
            block(1, &names.iter().map(String::as_str).collect::<Vec<_>>())
        });

        router.clone().foreseen(&refused);
        tokio::task::yield_now().await;
        assert!(router.table().coming.is_some(), "its routes were made ahead");
        assert!(router.routes_of(Sequence(1)).is_none(), "and nobody sees them");

        [&a, &b].into_iter().for_each(Registration::park);
        router.clone().foreseen(&came);
        router.coming(&came);
        router.committed(&came);
        tokio::task::yield_now().await;
        assert_eq!([a.answer(), b.answer()], [Call::Parked(came.last()), Call::Called(Sequence(1))]);
        let all = (0..ROUTED_TOPICS as u32).collect::<Vec<_>>();
        assert_eq!([a.topics(&came), b.topics(&came)], [Some(Vec::new()), Some(all)]);
        assert!(router.table().coming.is_none(), "what comes late does not make them again");
    }

    #[tokio::test]
    async fn a_stream_that_comes_behind_the_routes_looks_for_itself() {
        let router = Arc::new(Router::new(Sequence::ZERO, Handle::current()));
        let early = [stream(&router, &["a~"]), stream(&router, &["b~"])];
        let names: Vec<_> = (0..ROUTED_TOPICS).map(|at| format!("a{at:02}")).collect();
        let block = block(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
        router.clone().foreseen(&block);
        tokio::task::yield_now().await;
        let (late, _) = stream(&router, &["a0~"]);
        late.park();
        router.coming(&block);
        router.committed(&block);
        assert_eq!((late.answer(), late.topics(&block)), (Call::Called(Sequence(1)), None));
        drop(early);
    }
}

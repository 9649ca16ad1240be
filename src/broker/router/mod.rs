//! Which streams want which topics, and waking those that wait: one a namespace. Never reads a record, and never waits:
//! it is told of each block by the thread that writes the log.
//!
//! A stream that has read everything parks its [`Seat`]. A block that holds one of its topics calls it, once, and
//! tells it where that block begins: all blocks between its parking and that one held nothing for it, so it goes on
//! there. A stream is not called for a block without its topics, however many there are, nor does it read them.

pub mod index;
mod radix;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

use atomic_waker::AtomicWaker;
use tokio::runtime::Handle;

use self::index::{Index, Slot};
use crate::{
    engine::{Block, Follower},
    model::{PatternSet, Sequence},
};

/// Streams that are woken by the thread that writes. Each costs it about a microsecond, and maybe a wake-up of a worker
/// (tens of them); more are handed to one task, which wakes them on a worker, where it is a push to a local queue.
const WOKEN_HERE: usize = 4;

/// The streams of one namespace.
pub struct Router {
    runtime: Handle,
    // Every block up to here has been looked at, and whom it concerns was called.
    routed: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    index: Index,
    seats: Vec<Option<Arc<Seat>>>,
    free: Vec<Slot>,
}

impl Router {
    /// One without streams, for a log whose committed end is `end`.
    pub fn new(end: Sequence, runtime: Handle) -> Self {
        Router { runtime, routed: AtomicU64::new(end.0), table: Mutex::default() }
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
        drop(table);
        Registration { router: self.clone(), seat, slot, patterns }
    }

    /// Wakes every stream, whatever it waits for.
    pub fn wake_all(&self) {
        let seats: Vec<_> = self.table().seats.iter().flatten().cloned().collect();
        seats.iter().for_each(|seat| seat.waker.wake());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding the table")
    }
}

impl Follower for Router {
    fn committed(&self, block: &Arc<Block>) {
        // Pairs with the fence in `Seat::park`: either that stream sees this block's end, or it is seen parked here.
        fence(Ordering::SeqCst);
        let mut called = Vec::new();
        let mut table = self.table();
        let Table { index, seats, .. } = &mut *table;
        index.visit(block.topics(), |slot| {
            let seat = seats[slot as usize].as_ref().expect("a slot in the index is taken");
            if seat.call(block.first()) {
                called.extend(seat.waker.take());
            }
        });
        drop(table);
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
    patterns: Arc<PatternSet>,
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
}

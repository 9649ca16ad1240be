//! What a connection writes, gathered. HTTP/2 hands over each data frame by itself, and telling the socket of a frame
//! costs more than most frames: so what all streams of a connection have to say in one turn of the runtime leaves in one
//! write, as soon as all that is ready has run. An answer to what was just read leaves at once. Never waits for more to
//! come, never looks at the bytes, and never changes their order.

use std::{
    io::{self, IoSlice},
    mem,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker, ready},
    thread::{self, ThreadId},
};

use atomic_waker::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::{coop, yield_now},
};
use tower::BoxError;

/// So many bytes are gathered at most; more leave in the middle of a turn. Bounds the memory of a connection whose other
/// side takes nothing.
const MOST: usize = 32 << 10;
/// So many bytes at a time are not gathered: copying them begins to show beside writing them.
const LARGE: usize = 8 << 10;
/// So often is sent at once after something was read, before it is worth while to gather: the answer to a call is up to
/// three writes, and its client begins to wake up at the first.
const DIRECT: u32 = 3;

/// Sees to it that what is written to `io` leaves: give a connection the second half, and run it by the first.
pub fn gather<T>(io: T) -> (Gathering<T>, Gathered<T>) {
    let shared = Arc::new(Mutex::new(Shared { io, bytes: Vec::new(), sent: 0, direct: 0, is_blocked: false }));
    let turn = Arc::new(Turn { is_over: AtomicBool::new(false), task: AtomicWaker::new() });
    let end_of_turn = Waker::from(turn.clone());
    (Gathering { shared: shared.clone(), turn, end_of_turn, gathers_on: None, gathered: 0 }, Gathered { shared })
}

/// Runs a connection, and sends what it has written.
#[derive(Debug)]
pub struct Gathering<T> {
    shared: Arc<Mutex<Shared<T>>>,
    turn: Arc<Turn>,
    end_of_turn: Waker,
    // The worker at the end of whose turn it is sent.
    gathers_on: Option<ThreadId>,
    // How often the connection wrote in this turn.
    gathered: usize,
}

/// What a connection reads from and writes to.
#[derive(Debug)]
pub struct Gathered<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

// Both halves belong to one task: nobody ever waits for this.
#[derive(Debug)]
struct Shared<T> {
    io: T,
    bytes: Vec<u8>,
    // So many of them have left.
    sent: usize,
    // Sent at once since something was read.
    direct: u32,
    // The socket takes nothing. Until it does, nothing more is gathered, so that the connection feels it.
    is_blocked: bool,
}

/// Tells the end of a turn from other reasons to be polled.
#[derive(Debug)]
struct Turn {
    is_over: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Relaxed);
        self.task.wake();
    }
}

impl<T: AsyncWrite + Unpin> Gathering<T> {
    /// Runs `connection`, which writes to the other half, to its end. May be dropped, and run again with the same one.
    pub async fn run<E: Into<BoxError>>(
        &mut self,
        mut connection: Pin<&mut impl Future<Output = Result<(), E>>>,
    ) -> Result<(), BoxError> {
        std::future::poll_fn(|context| self.poll(connection.as_mut(), context)).await
    }

    fn poll<E: Into<BoxError>>(
        &mut self,
        connection: Pin<&mut impl Future<Output = Result<(), E>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        self.turn.task.register(context.waker());
        let is_over = self.turn.is_over.swap(false, Relaxed);
        let mut shared = lock(&self.shared);
        if shared.is_blocked
            && let Poll::Ready(Err(error)) = shared.poll_send(context)
        {
            return Poll::Ready(Err(error.into()));
        }
        drop(shared);
        let ended = connection.poll(context);
        let mut shared = lock(&self.shared);
        if let Poll::Ready(ended) = ended {
            // Most connections shut down what they write to, which sends the rest; one that breaks may not.
            let _ = shared.poll_send(context);
            return Poll::Ready(ended.map_err(Into::into));
        }
        if is_over {
            // Where nothing came together, the next may leave at once.
            if self.gathered + usize::from(shared.is_waiting()) < 2 {
                shared.direct = DIRECT - 1;
            }
            (self.gathers_on, self.gathered) = (None, 0);
        }
        if !shared.is_waiting() {
            return Poll::Pending;
        }
        if is_over || (self.gathers_on.is_none() && shared.direct < DIRECT) {
            shared.direct += u32::from(!is_over);
            return match shared.poll_send(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                _ => Poll::Pending,
            };
        }
        drop(shared);
        self.gathered += 1;
        let here = thread::current().id();
        // Another worker may be busy for long with what it has in its own turn: this one's may end sooner.
        if self.gathers_on.replace(here) != Some(here) {
            // The runtime wakes whoever yields when it has run all that is ready: here a waker of ours.
            let _ = pin!(yield_now()).poll(&mut Context::from_waker(&self.end_of_turn));
        }
        Poll::Pending
    }
}

impl<T> Shared<T> {
    /// Whether there are bytes that nobody sees to yet.
    fn is_waiting(&self) -> bool {
        !self.is_blocked && self.sent < self.bytes.len()
    }
}

impl<T: AsyncWrite + Unpin> Shared<T> {
    /// Sends all that was gathered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let sent = Pin::new(&mut self.io).poll_write(context, &self.bytes[self.sent..]);
            self.is_blocked = sent.is_pending();
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        // Connections that have nothing to say hold no memory for it.
        mem::take(&mut self.bytes);
        self.sent = 0;
        self.is_blocked = false;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        let before = out.filled().len();
        ready!(Pin::new(&mut shared.io).poll_read(context, out))?;
        if out.filled().len() > before {
            shared.direct = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // As a write to a socket: a connection that has much to say lets others have their turn.
        let budget = ready!(coop::poll_proceed(context));
        let mut shared = lock(&self.shared);
        let more = slices.iter().map(|slice| slice.len()).sum();
        if shared.is_blocked || more >= LARGE || shared.bytes.len() + more > MOST {
            ready!(shared.poll_send(context))?;
        }
        if more >= LARGE {
            return Pin::new(&mut shared.io).poll_write_vectored(context, slices);
        }
        if shared.bytes.is_empty() {
            // The allocator has it at hand, and growing would copy.
            shared.bytes.reserve_exact(MOST);
        }
        slices.iter().for_each(|slice| shared.bytes.extend_from_slice(slice));
        budget.made_progress();
        Poll::Ready(Ok(more))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written leaves at the end of the turn: there is nothing to wait for.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        ready!(shared.poll_send(context))?;
        Pin::new(&mut shared.io).poll_shutdown(context)
    }
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    // What a panic in a connection leaves behind is dropped with it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Poll::{Pending, Ready};

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A socket that takes so many bytes at a time, one entry for each write; at a zero it takes nothing once. Behind the
    /// last entry it takes everything.
    #[derive(Debug, Default)]
    struct Socket {
        takes: Vec<usize>,
        writes: usize,
        taken: Vec<u8>,
        is_shut: bool,
        is_broken: bool,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let most = self.takes.pop().unwrap_or(usize::MAX);
            if most == 0 {
                context.waker().wake_by_ref();
                return Pending;
            }
            self.writes += 1;
            let taken = most.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..taken]);
            Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_shut = true;
            Ready(Ok(()))
        }
    }

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pending
        }
    }

    /// Runs a connection, as a task, until it has nothing left to do. It never ends.
    async fn run(
        mut gathering: Gathering<Socket>,
        connection: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> Gathering<Socket> {
        let task = async move {
            let waits = std::time::Duration::from_secs(1);
            let ended = tokio::time::timeout(waits, gathering.run(pin!(connection))).await;
            assert!(ended.is_err(), "it ended");
            gathering
        };
        tokio::spawn(task).await.unwrap()
    }

    fn with<T>(gathering: &Gathering<Socket>, look: impl FnOnce(&Socket) -> T) -> T {
        look(&lock(&gathering.shared).io)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_at_once_leaves_in_one_write() {
        let (gathering, mut io) = gather(Socket::default());
        let gathering = run(gathering, async move {
            for _ in 0..10 {
                io.write_all(b"frame").await?;
            }
            // Another turn.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            io.write_all(b"more").await?;
            std::future::pending().await
        })
        .await;
        with(&gathering, |socket| {
            assert_eq!(socket.taken, [b"frame".repeat(10), b"more".to_vec()].concat());
            assert_eq!(socket.writes, 2);
        });
        assert_eq!(lock(&gathering.shared).bytes.capacity(), 0, "nothing is held for a connection at rest");
    }

    /// A connection that writes what its streams say, a byte each, in bursts.
    async fn streams(mut io: Gathered<Socket>, bursts: Vec<&'static [u8]>) -> io::Result<()> {
        for burst in bursts {
            let (says, mut said) = tokio::sync::mpsc::channel(10);
            for byte in burst.iter().copied() {
                let says = says.clone();
                tokio::spawn(async move { says.send(byte).await });
            }
            drop(says);
            // Polled anew for each, as a worker does that runs first what was woken last.
            while let Some(byte) = said.recv().await {
                io.write_all(&[byte]).await?;
                let mut waits = true;
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if mem::take(&mut waits) { Pending } else { Ready(()) }
                })
                .await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn what_streams_say_in_one_turn_leaves_in_one_write_after_the_first_few() {
        let (gathering, io) = gather(Socket::default());
        let gathering = run(gathering, streams(io, vec![b"abcdefgh", b"ABCDEFGH"])).await;
        let (taken, writes) = with(&gathering, |socket| (socket.taken.clone(), socket.writes));
        assert_eq!(taken, b"abcdefghABCDEFGH");
        // Three at once, then the rest; and of the second burst all together.
        assert!(writes as u32 <= DIRECT + 1 + 3, "{writes} writes");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_comes_together_it_leaves_at_once_again() {
        let (gathering, io) = gather(Socket::default());
        let gathering = run(gathering, streams(io, vec![b"a", b"b", b"c", b"d", b"e"])).await;
        assert_eq!(with(&gathering, |socket| (socket.taken.clone(), socket.writes)), (b"abcde".to_vec(), 5));
        assert!(lock(&gathering.shared).direct <= DIRECT && gathering.gathers_on.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_much_is_gathered_and_nothing_while_the_socket_is_blocked() {
        let (gathering, mut io) = gather(Socket { takes: vec![0; 1_000], ..Socket::default() });
        let mut context = Context::from_waker(Waker::noop());
        let (mut taken, piece) = (0, [7; 1_000]);
        while let Ready(more) = Pin::new(&mut io).poll_write(&mut context, &piece) {
            taken += more.unwrap();
        }
        assert_eq!(taken, MOST / piece.len() * piece.len());
        assert!(Pin::new(&mut io).poll_write(&mut context, b"x").is_pending());
        assert_eq!(lock(&gathering.shared).bytes.capacity(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_large_is_not_copied() {
        let (gathering, mut io) = gather(Socket::default());
        let large = vec![1; LARGE];
        let sent = large.clone();
        let gathering = run(gathering, async move {
            io.write_all(b"small").await?;
            io.write_all(&large).await?;
            assert_eq!(lock(&io.shared).bytes.capacity(), 0);
            std::future::pending().await
        })
        .await;
        assert_eq!(with(&gathering, |socket| socket.taken.clone()), [b"small".to_vec(), sent].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_breaks_ends_the_connection() {
        let (mut gathering, mut io) = gather(Socket { is_broken: true, ..Socket::default() });
        let connection = async move {
            io.write_all(b"frame").await?;
            std::future::pending::<io::Result<()>>().await
        };
        let ended = gathering.run(pin!(connection)).await;
        assert_eq!(ended.unwrap_err().downcast::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_a_connection_wrote_before_it_broke_leaves() {
        let (mut gathering, mut io) = gather(Socket::default());
        let connection = async move {
            io.write_all(b"goodbye").await?;
            Err(io::Error::other("broken"))
        };
        gathering.run(pin!(connection)).await.unwrap_err();
        assert_eq!(with(&gathering, |socket| socket.taken.clone()), b"goodbye");
    }

    proptest! {
        #[test]
        fn all_arrives_in_order_however_little_the_socket_takes(
            takes in prop::collection::vec(prop_oneof![Just(0_usize), 1..20_000_usize], 0..50),
            pieces in prop::collection::vec((0..3 * LARGE, any::<bool>()), 0..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (mut gathering, mut io) = gather(Socket { takes, ..Socket::default() });
                let mut all = Vec::new();
                let pieces: Vec<_> = pieces
                    .into_iter()
                    .enumerate()
                    .map(|(at, (length, rests))| (vec![at as u8; length], rests))
                    .inspect(|(piece, _)| all.extend_from_slice(piece))
                    .collect();
                let connection = async move {
                    for (piece, rests) in pieces {
                        io.write_all(&piece).await?;
                        if rests {
                            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        }
                    }
                    io.shutdown().await
                };
                gathering.run(pin!(connection)).await.unwrap();
                let (taken, is_shut) = with(&gathering, |socket| (socket.taken.clone(), socket.is_shut));
                assert!(is_shut && taken == all, "{} of {} bytes arrived", taken.len(), all.len());
            });
        }
    }
}

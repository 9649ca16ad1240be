//! A bad network between clients and a server: passes bytes on until it is told to cut the connections, at any byte, to
//! go silent without closing them, or to let nobody in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

/// Bytes that are passed on at once.
const PIECE: usize = 16 << 10;

/// Passes connections on to one address. Dropping it cuts them all.
pub struct Proxy {
    /// Where clients reach it.
    pub url: String,
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

/// What all connections listen to.
struct Line {
    target: String,
    /// How often it was cut, and how often it went silent: a connection that was there before ends, or says no more.
    cuts: watch::Sender<u64>,
    hushes: watch::Sender<u64>,
    /// Bytes until the next cut.
    budget: AtomicI64,
    /// New connections end at once.
    is_down: AtomicBool,
}

impl Proxy {
    /// Passes connections on to a URL, whatever its scheme; it is reached by the same one.
    pub async fn to(url: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (scheme, target) = url.split_once("://").unwrap();
        let url_here = format!("{scheme}://{}", listener.local_addr().unwrap());
        let line = Arc::new(Line {
            target: target.to_owned(),
            cuts: watch::Sender::new(0),
            hushes: watch::Sender::new(0),
            budget: AtomicI64::new(i64::MAX),
            is_down: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, line.clone()));
        Proxy { url: url_here, line, accepting }
    }

    /// Cuts all connections now.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Cuts all connections after so many more bytes, in the middle of whatever is said then, and waits for it.
    pub async fn cut_after(&self, bytes: u64) {
        let mut cuts = self.line.cuts.subscribe();
        self.line.budget.store(bytes as i64, Ordering::SeqCst);
        cuts.changed().await.unwrap();
    }

    /// Connections that there are say nothing any more, and are not closed. New ones are as any other.
    pub fn hush(&self) {
        self.line.hushes.send_modify(|hushes| *hushes += 1);
    }

    /// From now on no connection can be made, or it can again.
    pub fn down(&self, is_down: bool) {
        self.line.is_down.store(is_down, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Line {
    fn cut(&self) {
        self.budget.store(i64::MAX, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many of so many bytes may pass.
    fn pass(&self, bytes: usize) -> usize {
        let before = self.budget.fetch_sub(bytes as i64, Ordering::SeqCst);
        before.clamp(0, bytes as i64) as usize
    }
}

async fn accept(listener: TcpListener, line: Arc<Line>) {
    while let Ok((client, _)) = listener.accept().await {
        if line.is_down.load(Ordering::SeqCst) {
            continue;
        }
        let line = line.clone();
        // Subscribed here, so that a cut after the connection was made cuts it.
        let (mut cuts, hushes) = (line.cuts.subscribe(), line.hushes.subscribe());
        tokio::spawn(async move {
            let both = async {
                let Ok(broker) = TcpStream::connect(&line.target).await else { return };
                let _ = (client.set_nodelay(true), broker.set_nodelay(true));
                let (client, broker) = (client.into_split(), broker.into_split());
                tokio::select! {
                    () = pass(client.0, broker.1, &line, hushes.clone()) => {}
                    () = pass(broker.0, client.1, &line, hushes.clone()) => {}
                }
            };
            tokio::select! {
                () = both => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

/// Passes one direction on, until it ends or is cut.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    line: &Line,
    mut hushes: watch::Receiver<u64>,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let count = tokio::select! {
            biased;
            _ = hushes.changed() => std::future::pending().await,
            read = from.read(&mut piece) => match read {
                Ok(count) if count > 0 => count,
                _ => return,
            },
        };
        let passed = line.pass(count);
        if to.write_all(&piece[..passed]).await.is_err() {
            return;
        }
        if passed < count {
            line.cut();
            return;
        }
    }
}

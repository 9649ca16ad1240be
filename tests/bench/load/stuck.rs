//! Figure "stuck": what streams cost whose client stops reading while much is published. With `--streams 0` the same
//! publishing alone, to compare with.

use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tonic::Streaming;

use super::{
    batch::{self, Batches},
    raw::Delivered,
    stream,
    target::{Target, Window, settle},
};

/// A stream's is HTTP/2's own. The connection's has room for all its streams, or the first that is stuck would keep the
/// next from being opened.
const WINDOW: Window = Window { connection: 16 << 20, ..Window::ORDINARY };

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Streams; every second begins at the earliest message, the others at new ones.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// Connections that they share.
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Bytes of payload to publish while they are stuck, and a tenth of it before.
    #[arg(long, default_value_t = 200_000_000)]
    bytes: u64,
    /// Bytes of payload of one message.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// The whole client stands still: its connections are not read either.
    #[arg(long)]
    frozen: bool,
}

/// Opens the streams, publishes, and says what the broker's memory is.
pub async fn run(args: Args) -> Result<Value> {
    let publisher = args.target.connect(Window::LARGE).await?;
    let batches = Batches::new(args.payload, 1, args.target.durability);
    let messages = args.bytes / args.payload as u64;
    batch::publish_all(&publisher, &batches, messages / 10, 8).await?;
    let before = args.target.usage().await?.resident_bytes;
    let stuck = Stuck::open(&args).await?;
    let published = batch::publish_all(&publisher, &batches, messages, 8).await?;
    let right_after = args.target.usage().await?.resident_bytes;
    settle().await;
    let after = args.target.usage().await?.resident_bytes;
    stuck.close()?;
    Ok(json!({
        "figure": "stuck",
        "before_bytes": before,
        "right_after_bytes": right_after,
        "after_bytes": after,
        "peak_bytes": args.target.peak_bytes()?,
        "streams": args.streams,
        "connections": args.connections,
        "frozen": args.frozen,
        "published": published,
    }))
}

/// The streams, on a thread and a runtime of their own.
struct Stuck {
    close: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Stuck {
    async fn open(args: &Args) -> Result<Stuck> {
        let (close, closed) = oneshot::channel();
        let (opened, open) = oneshot::channel();
        let (target, streams, connections, frozen) = (args.target.clone(), args.streams, args.connections, args.frozen);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let held = runtime.block_on(open_streams(&target, streams, connections))?;
            let _ = opened.send(());
            // Nobody reads the streams from here on. A runtime that runs still reads their connections, as far as the
            // windows allow; one that nobody drives reads nothing.
            let _ = if frozen { closed.blocking_recv() } else { runtime.block_on(closed) };
            drop(held);
            Ok(())
        });
        let stuck = Stuck { close, thread };
        match open.await {
            Ok(()) => Ok(stuck),
            Err(_) => Err(stuck.close().err().context("the streams could not be opened")?),
        }
    }

    fn close(self) -> Result<()> {
        drop(self.close);
        self.thread.join().map_err(|_| anyhow!("the thread of the stuck streams panicked"))?
    }
}

async fn open_streams(target: &Target, streams: usize, connections: usize) -> Result<Vec<Streaming<Delivered>>> {
    let channels = target.connect_many(connections, WINDOW).await?;
    let from = |n| if n % 2 == 0 { stream::NEW } else { stream::EARLIEST };
    stream::open_many(&channels, streams, |n| stream::request("~", from(n))).await
}

//! Figure "namespaces": what many namespaces with one message each take of memory and disk.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use serde_json::{Value, json};
use tilde::pb::v1::{self as pb, broker_client::BrokerClient, namespaces_client::NamespacesClient};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    batch,
    target::{Durability, Target, Window, settle},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Namespaces.
    #[arg(long, default_value_t = 2_000)]
    count: usize,
    /// Created at a time.
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// The broker's directory, to see what it takes on the disk.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// Creates them, publishes to each, and says what the broker takes.
pub async fn run(args: Args) -> Result<Value> {
    let channel = args.target.connect(Window::LARGE).await?;
    let before = args.target.usage().await?.resident_bytes;
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..args.in_flight {
        tasks.spawn(create(channel.clone(), args.target.durability, next.clone(), args.count));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let elapsed = start.elapsed().as_secs_f64();
    settle().await;
    let after = args.target.usage().await?.resident_bytes;
    Ok(json!({
        "figure": "namespaces",
        "resident_bytes": after,
        "before_bytes": before,
        "disk_bytes": args.data.as_deref().map(disk_bytes).transpose()?,
        "count": args.count,
        "elapsed_s": elapsed,
    }))
}

async fn create(channel: Channel, durability: Durability, next: Arc<AtomicUsize>, count: usize) -> Result<()> {
    let (mut namespaces, mut broker) = (NamespacesClient::new(channel.clone()), BrokerClient::new(channel));
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return Ok(());
        }
        let namespace = pb::Namespace {
            name: format!("tenant-{n:05}"),
            durability: durability.wire().into(),
            ..Default::default()
        };
        let request =
            pb::PublishRequest { namespace: namespace.name.clone(), ..batch::message("hello", 128, durability) };
        namespaces.create_namespace(pb::CreateNamespaceRequest { namespace: Some(namespace) }).await?;
        broker.publish(request).await?;
    }
}

/// What a directory takes on the disk, as `du` counts it. What is not there, or goes away meanwhile, takes nothing.
fn disk_bytes(path: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += disk_bytes(&entry.path())?,
            Ok(metadata) => bytes += metadata.blocks() * 512,
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

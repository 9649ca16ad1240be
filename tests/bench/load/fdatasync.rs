//! What the disk takes for one overwrite of ready, zeroed blocks and `fdatasync`: it stands beside the figures, since no
//! synced publish can be faster.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Instant,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::latencies::Latencies;

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    /// Bytes of one write.
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Writes.
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Where; a file is made there and removed.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
}

/// Writes and syncs, and says how long that took.
pub async fn run(args: Args) -> Result<Value> {
    fs::create_dir_all(&args.dir)?;
    let path = args.dir.join(format!("fdatasync-{}", std::process::id()));
    let latencies = tokio::task::spawn_blocking(move || {
        let measured = File::create(&path).map_err(Into::into).and_then(|file| measure(&file, args.bytes, args.count));
        let _ = fs::remove_file(&path);
        measured
    });
    let latencies = latencies.await??;
    Ok(json!({
        "figure": "fdatasync",
        "p50_us": latencies.micros(0.5),
        "p99_us": latencies.micros(0.99),
        "bytes": args.bytes,
        "count": args.count,
    }))
}

fn measure(file: &File, bytes: usize, count: usize) -> Result<Latencies> {
    let zeros = vec![0; bytes];
    for n in 0..count {
        file.write_all_at(&zeros, (n * bytes) as u64)?;
    }
    file.sync_all()?;
    let block = vec![b'x'; bytes];
    let mut latencies = Latencies::new();
    for n in 0..count {
        let start = Instant::now();
        file.write_all_at(&block, (n * bytes) as u64)?;
        file.sync_data()?;
        latencies.since(start);
    }
    Ok(latencies)
}

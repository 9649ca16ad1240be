//! Figure "open": how long a broker takes to start on a directory that holds messages, and what memory it has then. The
//! only figure that starts its broker itself.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tilde::pb::v1::broker_client::BrokerClient;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    batch,
    publish::publish,
    store,
    target::{Durability, Target, Window, resident_bytes, settle},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    /// The broker's program.
    #[arg(long, default_value = "target/release/tilde")]
    binary: PathBuf,
    /// Its directory.
    #[arg(long)]
    data: PathBuf,
    /// Open after a `kill -9` instead of after a clean stop.
    #[arg(long)]
    killed: bool,
}

/// Starts it, waits for the first answer, and says how long that took.
pub async fn run(args: Args) -> Result<Value> {
    if args.killed {
        let started = Started::start(&args.binary, &args.data).await?;
        let mut broker = BrokerClient::new(started.target.connect(Window::ORDINARY).await?);
        for _ in 0..10 {
            publish(&mut broker, batch::message("bench/last-words", 128, Durability::Synced)).await?;
        }
        started.stop(Signal::KILL).await?;
    }
    let started = Started::start(&args.binary, &args.data).await?;
    started.target.usage().await?;
    let answered = started.from.elapsed();
    settle().await;
    let resident = resident_bytes(started.pid()?)?;
    let messages = store::stored(&started.target).await?;
    let ready = started.ready;
    started.stop(Signal::TERM).await?;
    Ok(json!({
        "figure": "open",
        "ready_ms": ready.as_secs_f64() * 1e3,
        "answered_ms": answered.as_secs_f64() * 1e3,
        "resident_bytes": resident,
        "messages": messages,
        "killed": args.killed,
    }))
}

/// A broker that is ready.
struct Started {
    child: Child,
    _output: Lines<BufReader<ChildStdout>>,
    target: Target,
    from: Instant,
    ready: Duration,
}

impl Started {
    async fn start(binary: &Path, data: &Path) -> Result<Started> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        let from = Instant::now();
        let mut child =
            command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("the broker did not start")?;
        let mut output = BufReader::new(child.stdout.take().context("its output is a pipe")?).lines();
        let address = timeout(Duration::from_secs(120), address(&mut output)).await.context("it never got ready")??;
        let ready = from.elapsed();
        let target = Target { broker: address, pid: child.id(), durability: Durability::Synced };
        Ok(Started { child, _output: output, target, from, ready })
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("the broker is gone")
    }

    async fn stop(mut self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid()? as i32).context("a process has an id")?;
        kill_process(pid, signal)?;
        let status = timeout(Duration::from_secs(60), self.child.wait()).await.context("it does not stop")??;
        ensure!(signal == Signal::KILL || status.success(), "it stopped with {status}");
        Ok(())
    }
}

/// The address in the line that says that the broker is ready.
async fn address(output: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    while let Some(line) = output.next_line().await? {
        if let Some((_, rest)) = line.split_once("listening on ") {
            return Ok(rest.split([',', ' ']).next().unwrap_or(rest).to_owned());
        }
    }
    bail!("the broker ended before it was ready")
}

//! Figure "http": publishing over plain HTTP on connections that stay open, and what a live stream of events costs that waits
//! for messages which never come. On bare sockets, so that the client's half costs little.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    latencies::Latencies,
    target::{Target, settle},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Requests at once, each on a connection of its own.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Seconds that are counted, after one to warm up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Instead of publishing: so many streams of events.
    #[arg(long)]
    streams: Option<usize>,
}

/// Publishes, or opens the streams.
pub async fn run(args: Args) -> Result<Value> {
    match args.streams {
        Some(streams) => idle(&args.target, streams).await,
        None => publish(&args).await,
    }
}

async fn publish(args: &Args) -> Result<Value> {
    let request = request(args);
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(args.seconds);
    let before = args.target.usage().await?;
    let latencies = Arc::new(Mutex::new(Latencies::new()));
    let mut tasks = JoinSet::new();
    for _ in 0..args.connections {
        let mut line = Line::to(&args.target.broker).await?;
        let (request, latencies) = (request.clone(), latencies.clone());
        tasks.spawn(async move {
            loop {
                let start = Instant::now();
                if start >= end {
                    return anyhow::Ok(());
                }
                line.ask(&request).await?;
                let answered = Instant::now();
                if answered > begin && answered <= end {
                    latencies.lock().unwrap_or_else(PoisonError::into_inner).since(start);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let after = args.target.usage().await?;
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({
        "figure": "http",
        "per_second": latencies.count() / args.seconds,
        "p50_us": latencies.micros(0.5),
        "p99_us": latencies.micros(0.99),
        "connections": args.connections,
        "payload": args.payload,
        "seconds": args.seconds,
        "broker_cpu_s": (after.broker_cpu - before.broker_cpu).as_secs_f64(),
        "client_cpu_s": (after.client_cpu - before.client_cpu).as_secs_f64(),
    }))
}

fn request(args: &Args) -> Vec<u8> {
    let Args { payload, target, .. } = args;
    let durability = format!("{:?}", target.durability).to_ascii_lowercase();
    let head = format!(
        "POST /v1/topics/bench/http/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\n\
         tilde-durability: {durability}\r\ncontent-length: {payload}\r\n\r\n"
    );
    [head.as_bytes(), &vec![b'x'; *payload]].concat()
}

async fn idle(target: &Target, streams: usize) -> Result<Value> {
    let open = async |n: usize| -> Result<Line> {
        let mut line = Line::to(&target.broker).await?;
        let request = format!(
            "GET /v1/messages?topic=bench/never/{n}/~&heartbeat_interval=300s HTTP/1.1\r\nhost: localhost\r\n\r\n"
        );
        line.0.write_all(request.as_bytes()).await?;
        let mut begun = [0; 16 << 10];
        let mut read = 0;
        while !begun[..read].windows(7).any(|part| part == b"started") {
            let more = line.0.read(&mut begun[read..]).await?;
            ensure!(more > 0, "a stream did not begin");
            read += more;
        }
        Ok(line)
    };
    // One comes and goes first: what the broker sets up once belongs to no stream.
    drop(open(0).await?);
    let before = target.usage().await?.resident_bytes;
    let mut lines = Vec::with_capacity(streams);
    for n in 0..streams {
        lines.push(open(n).await?);
    }
    settle().await;
    let after = target.usage().await?.resident_bytes;
    Ok(json!({
        "figure": "http-idle",
        "bytes_per_stream": after.saturating_sub(before) / streams as u64,
        "before_bytes": before,
        "after_bytes": after,
        "streams": lines.len(),
    }))
}

/// A connection that asks the same again and again, and looks at no more than whether the answer is good, and where it ends.
struct Line(TcpStream);

impl Line {
    async fn to(broker: &str) -> Result<Line> {
        let address = broker.strip_prefix("http://").context("--broker wants http://HOST:PORT")?;
        let stream = TcpStream::connect(address).await.with_context(|| format!("no broker answers at {broker}"))?;
        stream.set_nodelay(true)?;
        Ok(Line(stream))
    }

    async fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.0.write_all(request).await?;
        let mut answer = [0; 1 << 10];
        let mut read = 0;
        loop {
            let more = self.0.read(&mut answer[read..]).await?;
            ensure!(more > 0, "the broker closed the connection");
            read += more;
            // An answer is one JSON object, and none has another brace.
            if answer[read - 1] == b'}' {
                break;
            }
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..read]));
        Ok(())
    }
}

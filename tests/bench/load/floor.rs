//! Figure "floor": a unary call that is answered with what it brought, on a thread of its own, with no broker behind it.
//! What a publish takes beyond it is the broker's.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Instant,
};

use anyhow::Result;
use bytes::Bytes;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tonic::{Request, Response, Status, client, server};

use super::{
    latencies::Latencies,
    raw::{Raw, Receive, path},
    target::{Durability, Target, Window},
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    /// Bytes that go there and back.
    #[arg(long, default_value_t = 160)]
    bytes: usize,
    /// Calls that count, after a tenth as many to warm up.
    #[arg(long, default_value_t = 5_000)]
    count: u64,
}

/// Calls, and says how long each took.
pub async fn run(args: Args) -> Result<Value> {
    let address = serve()?;
    let target = Target { broker: format!("http://{address}"), pid: None, durability: Durability::Memory };
    let mut client = client::Grpc::new(target.connect(Window::LARGE).await?);
    let ball = Bytes::from(vec![b'x'; args.bytes]);
    let mut latencies = Latencies::new();
    for n in 0..args.count + args.count / 10 {
        let start = Instant::now();
        client.ready().await?;
        client.unary(Request::new(ball.clone()), path::publish(), Raw::<Whole>::new()).await?;
        if n >= args.count / 10 {
            latencies.since(start);
        }
    }
    Ok(json!({
        "figure": "floor",
        "p50_us": latencies.micros(0.5),
        "p99_us": latencies.micros(0.99),
        "bytes": args.bytes,
        "count": args.count,
    }))
}

/// Answers every call on a port of its own, as long as the process lives.
fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || runtime.block_on(accept(listener)));
    Ok(address)
}

async fn accept(listener: TcpListener) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let answer = service_fn(|request| async {
            Ok::<_, Infallible>(server::Grpc::new(Raw::<Whole>::new()).unary(Echo, request).await)
        });
        let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), answer);
        tokio::spawn(serving);
    }
}

/// Answers with what came.
struct Echo;

impl server::UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// Keeps the bytes.
#[derive(Clone, Default)]
struct Whole;

impl Receive for Whole {
    type Item = Bytes;

    fn receive(&mut self, bytes: &[u8]) -> Result<Bytes, Status> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

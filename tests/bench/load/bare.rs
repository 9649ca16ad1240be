//! Figure "bare": what is left of a broker when only the libraries and the disk are: tonic as it comes, one thread that
//! writes and syncs, and every message to every stream. What `tilde bench latency` takes beyond it is the broker's. Not a
//! broker: it knows no topics, loses all when it ends, and reads back nothing.

use std::{
    convert::Infallible,
    fs::File,
    future::Future,
    net::Ipv4Addr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, mpsc as blocking},
    task::{Context, Poll},
    thread,
};

use anyhow::Result;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::{Value, json};
use tilde::pb::v1::{
    Durability, GetServerInfoRequest, GetServerInfoResponse, Message, PublishRequest, PublishStreamRequest,
    PublishStreamResponse, PublishedRun, Started, SubscribeRequest, SubscribeResponse, message, publish_request,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, body::Body, codegen::Service, server};
use tonic_prost::ProstCodec;

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    /// Where the file lies that is written.
    #[arg(long, default_value = "target/bench/bare")]
    data: PathBuf,
    /// Hand messages to the system, and sync nothing.
    #[arg(long)]
    unsynced: bool,
}

/// So much of the file is prepared, and written round and round.
const FILE: usize = 64 << 20;

/// So many responses wait for a stream.
const WAITING: usize = 65_536;

/// Serves until it is told to stop.
pub async fn run(args: Args) -> Result<Value> {
    let file = prepare(&args.data)?;
    let (appends, coming) = blocking::channel();
    let bare = Bare { appends, streams: Arc::default() };
    let streams = bare.streams.clone();
    thread::spawn(move || write(&file, !args.unsynced, &coming, &streams));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut stop = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = stop.recv() => return Ok(json!({ "figure": "bare" })),
            accepted = listener.accept() => {
                tokio::spawn(serve(accepted?.0, bare.clone()));
            }
        }
    }
}

/// Ready, zeroed blocks, as a log has them.
fn prepare(dir: &Path) -> Result<File> {
    std::fs::create_dir_all(dir)?;
    let file = File::create(dir.join("log"))?;
    file.write_all_at(&vec![0; FILE], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// What a stream of publishes hands over for one frame, and where its answer goes.
struct Append {
    requests: Vec<PublishRequest>,
    first_request: u64,
    answers: mpsc::Sender<Result<PublishStreamResponse, Status>>,
}

type Streams = Arc<Mutex<Vec<mpsc::Sender<Result<SubscribeResponse, Status>>>>>;

/// Writes what there is, syncs it, answers, and hands it on.
fn write(file: &File, syncs: bool, coming: &blocking::Receiver<Append>, streams: &Streams) {
    let (mut offset, mut sequence) = (0, 0);
    let durability = if syncs { Durability::Synced } else { Durability::Written };
    while let Ok(first) = coming.recv() {
        let (mut response, mut answers) = (SubscribeResponse::default(), Vec::new());
        for append in std::iter::once(first).chain(coming.try_iter()) {
            let requests = append.requests.len() as u32;
            response.messages.extend(append.requests.into_iter().map(|request| {
                sequence += 1;
                stored(request, sequence)
            }));
            let run = PublishedRun {
                first_request: append.first_request,
                requests,
                first_sequence: sequence + 1 - u64::from(requests),
                last_sequence: sequence,
                durability: durability.into(),
                ..PublishedRun::default()
            };
            let answer = PublishStreamResponse { published: vec![run], ..PublishStreamResponse::default() };
            answers.push((append.answers, answer));
        }
        let bytes = response.encode_to_vec();
        if offset + bytes.len() > FILE {
            offset = 0;
        }
        file.write_all_at(&bytes, offset as u64).expect("the disk takes it");
        offset += bytes.len();
        if syncs {
            file.sync_data().expect("the disk keeps it");
        }
        answers.into_iter().for_each(|(answers, answer)| drop(answers.try_send(Ok(answer))));
        streams.lock().expect("nobody panics").retain(|stream| stream.try_send(Ok(response.clone())).is_ok());
    }
}

fn stored(request: PublishRequest, sequence: u64) -> Message {
    let payload = request.payload.map(|payload| match payload {
        publish_request::Payload::Data(data) => message::Payload::Data(data),
        publish_request::Payload::Text(text) => message::Payload::Text(text),
    });
    Message { topic: request.topic, payload, sequence, ..Message::default() }
}

async fn serve(connection: TcpStream, bare: Bare) -> Result<()> {
    connection.set_nodelay(true)?;
    let answer = service_fn(move |request| {
        let bare = bare.clone();
        async move { Ok::<_, Infallible>(bare.answer(request).await) }
    });
    Ok(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), answer).await?)
}

#[derive(Clone)]
struct Bare {
    appends: blocking::Sender<Append>,
    streams: Streams,
}

impl Bare {
    async fn answer(self, request: http::Request<hyper::body::Incoming>) -> http::Response<Body> {
        match request.uri().path() {
            "/tilde.v1.Broker/PublishStream" => grpc().streaming(Publishing(self), request).await,
            "/tilde.v1.Broker/Subscribe" => grpc().server_streaming(Subscribing(self), request).await,
            "/tilde.v1.Operations/GetServerInfo" => grpc().unary(Telling, request).await,
            path => Status::unimplemented(format!("{path} is not served here")).into_http(),
        }
    }
}

fn grpc<Out: prost::Message + 'static, In: prost::Message + Default + 'static>() -> server::Grpc<ProstCodec<Out, In>> {
    server::Grpc::new(ProstCodec::default())
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

struct Publishing(Bare);

impl Service<Request<Streaming<PublishStreamRequest>>> for Publishing {
    type Response = Response<ReceiverStream<Result<PublishStreamResponse, Status>>>;
    type Error = Status;
    type Future = Answer<ReceiverStream<Result<PublishStreamResponse, Status>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<PublishStreamRequest>>) -> Self::Future {
        let (answers, receiver) = mpsc::channel(WAITING);
        tokio::spawn(take(request.into_inner(), self.0.appends.clone(), answers));
        Box::pin(async { Ok(Response::new(ReceiverStream::new(receiver))) })
    }
}

async fn take(
    mut frames: Streaming<PublishStreamRequest>,
    appends: blocking::Sender<Append>,
    answers: mpsc::Sender<Result<PublishStreamResponse, Status>>,
) {
    let welcome = PublishStreamResponse { next_number: Some(1), ..PublishStreamResponse::default() };
    let _ = answers.send(Ok(welcome)).await;
    let mut first_request = 0;
    while let Ok(Some(frame)) = frames.message().await {
        let requests = frame.requests.len() as u64;
        if requests > 0 {
            let _ = appends.send(Append { requests: frame.requests, first_request, answers: answers.clone() });
        }
        first_request += requests;
    }
}

struct Subscribing(Bare);

impl Service<Request<SubscribeRequest>> for Subscribing {
    type Response = Response<ReceiverStream<Result<SubscribeResponse, Status>>>;
    type Error = Status;
    type Future = Answer<ReceiverStream<Result<SubscribeResponse, Status>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<SubscribeRequest>) -> Self::Future {
        let (responses, receiver) = mpsc::channel(WAITING);
        let started = SubscribeResponse { started: Some(Started::default()), ..SubscribeResponse::default() };
        let _ = responses.try_send(Ok(started));
        self.0.streams.lock().expect("nobody panics").push(responses);
        Box::pin(async { Ok(Response::new(ReceiverStream::new(receiver))) })
    }
}

struct Telling;

impl Service<Request<GetServerInfoRequest>> for Telling {
    type Response = Response<GetServerInfoResponse>;
    type Error = Status;
    type Future = Answer<GetServerInfoResponse>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<GetServerInfoRequest>) -> Self::Future {
        Box::pin(async { Ok(Response::new(GetServerInfoResponse::default())) })
    }
}

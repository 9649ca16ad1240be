//! `tilde inbox`: a sample receiver of webhooks. It can be switched off, so that messages wait, and asks for what waits.

mod hub;
mod receiver;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use self::{hub::Hub, receiver::Receiver};
use super::{failure::Failure, interrupt::Interrupt, output, remote};

/// Receive webhooks as a sample subscriber of the profile `webhook-inbox`, and print them
///
/// POST /event takes a message, once GET /toggle_post_event has switched it on; until then it answers 503, and what was
/// sent waits. GET /event fetches what waits from the inbox, and acknowledges it.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,

    /// Where the profile webhook-inbox is served
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    hub: String,

    /// Subscribe to this topic at the start; may be repeated
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,

    /// As what this receiver is subscribed [default: its own address and /event]
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Take messages from the start on
    #[arg(long)]
    on: bool,
}

const EXAMPLES: &str = "\
Examples:
  tilde serve --profile webhook-inbox=127.0.0.1:8000
  tilde inbox --topic news                            in another terminal
  curl -X POST 127.0.0.1:8000/publish/news -H 'content-type: application/json' -d '{\"message\":\"hello\"}'
  curl 127.0.0.1:8001/event                           what waited, as it was switched off
  curl 127.0.0.1:8001/toggle_post_event               switches it on";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        let mut interrupt = Interrupt::listen(0)?;
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener.map_err(|error| Failure::new(format!("cannot listen on {}: {error}", args.listen)))?;
        let address = listener.local_addr().context("the port has no address")?;
        let url = args.url.clone().unwrap_or_else(|| format!("http://{address}/event"));
        let hub = Hub::new(&args.hub, url)?;
        for topic in &args.topic {
            hub.subscribe(topic).await?;
        }
        output::line(format!("inbox is listening on http://{address}, as {}", hub.url()))?;
        tokio::select! {
            ended = serve(listener, Arc::new(Receiver::new(hub, args.on))) => ended,
            () = interrupt.wait() => Ok(()),
        }
    })
}

async fn serve(listener: TcpListener, receiver: Arc<Receiver>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("no connection can be taken")?;
        let receiver = receiver.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let receiver = receiver.clone();
                async move { Ok::<_, std::convert::Infallible>(receiver.answer(request).await) }
            });
            let mut http = http1::Builder::new();
            // A connection that breaks is its sender's to mend.
            let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

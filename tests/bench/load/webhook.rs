//! Figure "webhook": how fast a subscription sends its messages on, to a target that answers at once.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tilde::pb::v1::{self as pb, subscriptions_client::SubscriptionsClient};
use tokio::{net::TcpListener, sync::Notify};

use super::{
    batch::{self, Batches},
    target::{Target, Window},
};

/// What to do. The broker must allow `127.0.0.0/8` as a target.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Messages, rounded up to thousands.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Bytes of payload.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Pushes that await their answer.
    #[arg(long, default_value_t = 100)]
    in_flight: u32,
    /// Sign them.
    #[arg(long)]
    signed: bool,
}

const NAME: &str = "bench-webhook";

/// Fills a subscription that is paused, lets it go on, and says how fast all of it came.
pub async fn run(args: Args) -> Result<Value> {
    let (count, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let channel = args.target.connect(Window::LARGE).await?;
    let wanted = args.messages.div_ceil(batch::MESSAGES) * batch::MESSAGES;
    let url = receive(count.clone(), done.clone(), wanted).await?;
    let mut subscriptions = SubscriptionsClient::new(channel.clone());
    let secrets = args.signed.then(|| "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let push_config = pb::PushConfig {
        url,
        secrets: secrets.into_iter().collect(),
        max_in_flight: args.in_flight,
        ..Default::default()
    };
    let subscription = pb::Subscription {
        name: NAME.to_owned(),
        topics: vec!["bench/fill".to_owned()],
        push_config: Some(push_config),
        ..Default::default()
    };
    let request = pb::CreateSubscriptionRequest { subscription: Some(subscription) };
    subscriptions.create_subscription(request).await?;
    subscriptions.pause_subscription(pb::PauseSubscriptionRequest { name: NAME.into(), ..Default::default() }).await?;
    let batches = Batches::new(args.payload, 1, args.target.durability);
    batch::publish_all(&channel, &batches, args.messages, 8).await?;
    let before = args.target.usage().await?;
    let start = Instant::now();
    subscriptions
        .resume_subscription(pb::ResumeSubscriptionRequest { name: NAME.into(), ..Default::default() })
        .await?;
    done.notified().await;
    let elapsed = start.elapsed().as_secs_f64();
    let after = args.target.usage().await?;
    let request = pb::DeleteSubscriptionRequest { name: NAME.into(), ..Default::default() };
    subscriptions.delete_subscription(request).await?;
    Ok(json!({
        "figure": "webhook",
        "per_second": (wanted as f64 / elapsed) as u64,
        "messages": wanted,
        "came": count.load(Ordering::Relaxed),
        "payload": args.payload,
        "in_flight": args.in_flight,
        "signed": args.signed,
        "elapsed_s": elapsed,
        "broker_cpu_s": (after.broker_cpu - before.broker_cpu).as_secs_f64(),
        "client_cpu_s": (after.client_cpu - before.client_cpu).as_secs_f64(),
    }))
}

/// A target that answers 204, counts, and tells when so many came.
async fn receive(count: Arc<AtomicU64>, done: Arc<Notify>, wanted: u64) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (count, done) = (count.clone(), done.clone());
            let _ = stream.set_nodelay(true);
            let serve = service_fn(move |request: http::Request<Incoming>| {
                let (count, done) = (count.clone(), done.clone());
                async move {
                    let _ = request.into_body().collect().await;
                    if count.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
                        done.notify_one();
                    }
                    let mut answer = http::Response::new(Empty::<Bytes>::new());
                    *answer.status_mut() = http::StatusCode::NO_CONTENT;
                    Ok::<_, Infallible>(answer)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
        }
    });
    Ok(url)
}

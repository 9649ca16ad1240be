//! `tilde serve`: puts the broker together, runs it, and takes it down in order.

mod settings;
mod signals;

use std::{cell::OnceCell, io, net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{runtime, time};

pub use settings::{CONFIG_VARIABLE, Settings, variable, warnings};

use super::{failure::Failure, output};
use crate::{
    broker::{self, Broker},
    clock::{Clock, SystemClock},
    config::{self, Config, EngineKind, LogFormat},
    engine::{
        Engine,
        jetstream::{self, JetStreamEngine},
        log::{self, LogEngine},
        memory::MemoryEngine,
    },
    model::{Cidr, NamespaceName, Targets},
    server,
    telemetry::Metrics,
};

/// Run the broker
///
/// Says on standard output where it listens once it is ready, and logs to standard error. SIGTERM and SIGINT stop it:
/// streams are told and end, what was taken is made durable, and it exits with 0; a second signal ends it at once.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tilde serve
  tilde serve --listen 127.0.0.1:0 --engine memory          for a test
  tilde serve --listen 0.0.0.0:7126 --insecure              in a network that you trust
  TILDE_STORAGE_TAIL_BYTES=256MiB tilde serve

`tilde config show` prints all settings and where each comes from.";

/// What other servers could not do is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the engine may take to make durable what it has taken.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = args.settings.load()?.config;
    config.check_exposure().map_err(Failure::new)?;
    config.check_cluster().map_err(Failure::new)?;
    start_log(&config);
    warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut builder = runtime::Builder::new_multi_thread();
    if config.worker_threads > 0 {
        builder.worker_threads(config.worker_threads);
    }
    let runtime = builder.enable_all().thread_name("tilde").build().context("no thread can be started")?;
    let result = runtime.block_on(serve(&config));
    runtime.shutdown_background();
    result
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let mut stop = pin!(signals::listen().context("signals cannot be caught")?);
    let bound = server::bind(edge(config)).await.map_err(|error| cannot_listen(config, &error))?;
    let metrics = Arc::new(Metrics::default());
    let local = bound.local_addr();
    let others: Vec<_> = bound.profile_addrs().collect();
    let opened = OnceCell::new();
    let opening = async {
        let (engine, broker) = open(config, local, &metrics).await?;
        for (name, address) in &others {
            output::line(format!("profile {name} is listening on http://{address}"))?;
        }
        output::line(ready(config, local))?;
        opened.set(engine).ok();
        anyhow::Ok(broker)
    };
    let ended = match config.engine {
        EngineKind::JetStream => bound.serve_once_open(opening, metrics.clone(), stop).await?,
        // It is open in a moment: whoever comes before waits in the system's queue.
        EngineKind::Embedded | EngineKind::Memory => {
            let broker = tokio::select! {
                opened = opening => opened?,
                // What is half open is as after a crash, which it must survive anyway.
                () = &mut stop => return Ok(()),
            };
            bound.serve(broker, metrics.clone(), stop).await
        }
    };
    let Some(engine) = opened.into_inner() else { return Ok(()) };
    if let Some(error) = ended.failure {
        return Err(Failure::new(format!("the broker stopped by itself: {error}")).into());
    }
    match time::timeout(CLOSE_TIMEOUT, engine.close()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(format!("the engine did not close in order: {error}")).into()),
        Err(_) => Err(Failure::new(format!(
            "the engine was not closed after {} s; what was answered is safe, opening will take longer",
            CLOSE_TIMEOUT.as_secs()
        ))
        .into()),
    }
}

async fn open(
    config: &Config,
    local: SocketAddr,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Arc<dyn Engine>, Arc<Broker>)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    loop {
        let engine = open_engine(config, local, &clock).await?;
        let error = match Broker::open(engine.clone(), clock.clone(), metrics.clone(), decisions(config)).await {
            Ok(broker) => return Ok((engine, broker)),
            Err(error) => error,
        };
        // What the machine itself could not do is told at once.
        if engine.reach().is_none() || error.retry_delay().is_none() {
            return Err(Failure::new(error.to_string()).into());
        }
        tracing::warn!(%error, "the broker cannot be opened yet");
        drop(engine.close().await);
        time::sleep(AGAIN).await;
    }
}

/// The one place that knows the engines by name.
async fn open_engine(config: &Config, local: SocketAddr, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Engine>> {
    match config.engine {
        EngineKind::Memory => {
            let engine = MemoryEngine::new(clock.clone()).with_tail_bytes(config.storage.tail_bytes.bytes());
            Ok(Arc::new(engine))
        }
        EngineKind::Embedded => {
            let (dir, sizes, clock) = (config.data.clone(), storage(config), clock.clone());
            let opened = tokio::task::spawn_blocking(move || LogEngine::open(&dir, sizes, clock)).await?;
            Ok(Arc::new(opened.map_err(|error| Failure::new(error.to_string()))?))
        }
        EngineKind::JetStream => {
            let opened = JetStreamEngine::open(cluster(config, local), clock.clone()).await;
            Ok(Arc::new(opened.map_err(|error| Failure::new(error.to_string()))?))
        }
    }
}

/// What the JetStream engine is told.
fn cluster(config: &Config, local: SocketAddr) -> jetstream::Config {
    let named = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
    jetstream::Config {
        urls: nats_urls(config),
        credentials: named(&config.jetstream.credentials),
        root_certificates: named(&config.jetstream.root_certificates),
        replicas: config.jetstream.replicas,
        synced: config.jetstream.synced,
        address: match config.jetstream.address.as_str() {
            "" => local.to_string(),
            address => address.to_owned(),
        },
        tail_bytes: config.storage.tail_bytes.bytes(),
    }
}

fn nats_urls(config: &Config) -> Vec<String> {
    config.jetstream.urls.split(',').map(|url| url.trim().to_owned()).collect()
}

/// What the embedded engine is told.
fn storage(config: &Config) -> log::Config {
    log::Config {
        tail_bytes: config.storage.tail_bytes.bytes(),
        segment_max: config.storage.segment_max_bytes.bytes() as u64,
        verify: match config.storage.verify {
            config::Verify::All => log::Verify::All,
            config::Verify::Tail => log::Verify::Tail,
        },
        ..log::Config::default()
    }
}

/// What the edge is told.
fn edge(config: &Config) -> server::Config {
    server::Config {
        listen: config.listen.0,
        max_connections: config.server.max_connections,
        handshake_timeout: config.server.handshake_timeout.0,
        request_timeout: config.server.request_timeout.0,
        drain_grace: config.server.drain_grace.0,
        allow_origins: config.server.allow_origins.clone(),
        profiles: profiles(&config.profiles),
        ..server::Config::default()
    }
}

/// Which other systems are served, and where.
fn profiles(config: &config::Profiles) -> Vec<(SocketAddr, server::Profile)> {
    let namespace = |name: &str| NamespaceName::parse(name).expect("the configuration was checked");
    let config::Profiles { mailbox, schema_registry: registry, webhook_inbox: inbox } = config;
    let mailbox = mailbox.listen.0.map(|address| {
        (address, server::Profile::Mailbox(server::mailbox::Config { namespace: namespace(&mailbox.namespace) }))
    });
    let registry = registry.listen.0.map(|address| {
        let config = server::schema_registry::Config { namespace: namespace(&registry.namespace) };
        (address, server::Profile::SchemaRegistry(config))
    });
    let inbox = inbox.listen.0.map(|address| {
        let config = server::webhook_inbox::Config {
            namespace: namespace(&inbox.namespace),
            has_envelope: inbox.body == config::InboxBody::Envelope,
            needs_subscribers: inbox.no_subscribers == 404,
            needs_content_type: inbox.require_content_type,
            timeout: inbox.timeout.0,
        };
        (address, server::Profile::WebhookInbox(config))
    });
    mailbox.into_iter().chain(registry).chain(inbox).collect()
}

/// What the broker is told.
fn decisions(config: &Config) -> broker::Config {
    broker::Config {
        message_bytes: config.limits.message_bytes.bytes(),
        targets: Targets::new(targets(config)),
        ..broker::Config::default()
    }
}

/// Where webhooks may go besides public addresses. Who serves the profile `webhook-inbox` to this machine alone, and the
/// broker, too, has subscribers on it.
fn targets(config: &Config) -> Vec<Cidr> {
    let is_at_home = |address: SocketAddr| address.ip().is_loopback();
    let inbox = config.profiles.webhook_inbox.listen.0;
    let home: &[&str] = match inbox.is_some_and(is_at_home) && is_at_home(config.listen.0) {
        true => &["127.0.0.0/8", "::1/128"],
        false => &[],
    };
    let home = home.iter().map(|text| Cidr::try_from(text.to_string()).expect("it is a network"));
    config.webhooks.allow_targets.iter().copied().chain(home).collect()
}

/// Tests and scripts read this line, and the port in it.
fn ready(config: &Config, address: SocketAddr) -> String {
    let data = match config.engine {
        EngineKind::Embedded => config.data.display().to_string(),
        EngineKind::Memory => "memory, until it stops".into(),
        EngineKind::JetStream => format!("JetStream at {}", jetstream::told(&nats_urls(config))),
    };
    format!("tilde is listening on http://{address}, data in {data}")
}

fn cannot_listen(config: &Config, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot listen on {}: {error}", config.listen));
    match error.kind() {
        io::ErrorKind::AddrInUse => failure.hint("is another broker running there? --listen ADDR takes another port"),
        io::ErrorKind::AddrNotAvailable => failure.hint("the address must be one of this machine"),
        _ => failure,
    }
}

fn start_log(config: &Config) {
    // The library warns of every client that breaks the protocol: whoever likes could fill the log with it.
    let filter = tracing_subscriber::EnvFilter::new(format!("h2=error,{}", config.log.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => {
            let ansi = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(ansi).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

//! `tilde route`: sends events on to the topic of their destination, at least once, in the order of their keys.
//!
//! An event passes the `router`, which reads it (`readers`, `event`) and hands it to the `lane` of its destination; when it
//! is durable there the `settler` settles it at its source. `src/docs/events.md` says what others see.

mod settings;

mod router;

mod event;
mod readers;

mod destination;
mod lane;
mod routes;

mod settler;
mod source;

mod measures;

use anyhow::Context;
use http::{Method, Response, StatusCode, header};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    measures::Measures,
    router::{Parts, Router},
    settings::{Flags, Settings},
    source::Source,
};
use super::{
    failure::Failure,
    interrupt::Interrupt,
    journal::Journal,
    output::{self, Format},
    patience::Patience,
    ports::{Connections, listen, problem},
    registry::{Refusal, Registry, patiently},
    remote::{self, Remote, Tenant},
};
use crate::{client::DEFAULT_URL, schema::RecordReader};

/// Send events on to the topic of their destination
///
/// Reads events of the record ProducerToProcessor from one topic, and sends each on as a ProcessorToConsumer to the topic of
/// its destination_service_type, in whatever case that is written. An event is settled once it is on stable storage there, and
/// may arrive twice after a crash. What cannot be routed goes to the dead letters with the reason. Several routers with the same
/// --group-id share the work; events with the same key stay in order. Flags may also be written with one dash, and with `_`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, mut_arg("broker", |arg| arg.visible_alias("bootstrap-server")))]
pub struct Args {
    #[command(flatten)]
    flags: Flags,

    /// How the log on standard output is written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  # once, the schemas of both sides
  tilde schema register producer.to.processor-value producer.avsc
  tilde schema register processor.to.consumer-value consumer.avsc
  tilde route --processor-id r1 --source-topic producer.to.processor --group-id router --destination-configurations \\
    '{\"FINANCE\": {\"output_topic\": \"finance\", \"output_subject\": \"processor.to.consumer-value\"}}'
  tilde route --config route.toml --metrics 127.0.0.1:8091

A file with the settings, for --config:
  processor_id = \"r1\"
  source_topic = \"producer.to.processor\"
  group_id = \"router\"
  commit_interval = \"1s\"

  [destination_configurations.FINANCE]     # read again at SIGHUP
  output_topic = \"finance\"
  output_subject = \"processor.to.consumer-value\"

Ctrl-C or SIGTERM: takes nothing more, waits until what is under way is durable, settles it, and exits with 0.";

/// Runs it.
pub fn run(mut args: Args) -> anyhow::Result<()> {
    let (settings, destinations) = args.flags.settings()?;
    // A flag goes before the file. Whoever names the broker that is there unasked has named none.
    if let Some(broker) = settings.broker.as_ref().filter(|_| args.remote.broker == DEFAULT_URL) {
        args.remote.broker.clone_from(broker);
    }
    remote::run(async {
        let mut interrupt = Interrupt::listen_patiently(1)?;
        // From the start: unheard it would end the process.
        let hangup = signal(SignalKind::hangup())?;
        let journal = Journal::start_for(args.format, settings.level, Some(&settings.processor_id));
        let journal = journal.context("no thread can be started")?;
        let Args { remote, tenant, .. } = &args;
        let source = Source {
            remote: remote.clone(),
            tenant: tenant.clone(),
            topic: settings.source_topic.clone(),
            group: settings.group_id.clone(),
        };
        let own = format!("{}/schema-registry", remote.broker);
        let registry = Registry::new(settings.registry.as_deref().unwrap_or(&own), &tenant.namespace)?;
        let mut patience = Patience::new(settings.start_within);
        let (input, prepared, doubts) = tokio::select! {
            () = interrupt.wait() => return Ok(()),
            prepared = async {
                source.reach(&mut patience).await?;
                let input = input(&registry, &settings, &mut patience).await?;
                let prepared = routes::prepare(&registry, destinations, &mut patience).await.map_err(missing)?;
                let doubts = source.ensure(&mut patience).await?;
                Ok::<_, Failure>((input, prepared, doubts))
            } => prepared?,
        };
        // Tests and scripts read these lines, and the port in them.
        let say = |line: String| match args.format {
            Format::Text => output::line(line),
            Format::Json => {
                journal.told(&line);
                Ok(())
            }
        };
        let measures = Measures::new();
        let connections = Connections::raised();
        if let Some(address) = settings.metrics {
            let listener = listen(address)?;
            say(format!("metrics are on http://{}/metrics", listener.local_addr()?))?;
            serve(connections, listener, measures.clone(), source.clone());
        }
        let Settings { source_topic, group_id, .. } = &settings;
        say(format!("{} routes {source_topic} as {group_id}", settings.processor_id))?;
        doubts.iter().for_each(|doubt| journal.warn(doubt));
        let client = remote.client(tenant)?;
        let parts = Parts { client, remote: remote.clone(), flags: args.flags, settings, registry, measures, journal };
        Router::start(parts, input, prepared).run(interrupt, hangup).await
    })
}

/// The schema that events come in must be there, and be that of such events.
async fn input(
    registry: &Registry,
    settings: &Settings,
    patience: &mut Patience,
) -> Result<(u32, RecordReader), Failure> {
    let subject = format!("{}-value", settings.source_topic);
    let registered = patiently(patience, || registry.latest(&subject)).await.map_err(missing)?;
    match registered.schema.reader(&event::INPUT) {
        Ok(reader) => Ok((registered.id, reader)),
        Err(broken) => {
            Err(Failure::new(format!("the schema of subject {subject:?} is not that of events to route: {broken}")))
        }
    }
}

fn missing(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Missing(_) => Failure::from(refusal).hint("`tilde schema register SUBJECT FILE` registers one"),
        refusal => Failure::from(refusal),
    }
}

/// Answers whoever asks for the counters.
fn serve(connections: Connections, listener: tokio::net::TcpListener, measures: Measures, source: Source) {
    tokio::spawn(async move {
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let (measures, source) = (measures.clone(), source.clone());
            async move {
                if (request.method(), request.uri().path()) != (&Method::GET, "/metrics") {
                    return Ok(problem(StatusCode::NOT_FOUND.as_u16(), "NOT_FOUND", "there is GET /metrics"));
                }
                let text = measures.render(source.backlog().await);
                let mut response = Response::new(text.into());
                let kind =
                    header::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                Ok(response)
            }
        };
        connections.serve(listener, answer).await;
    });
}

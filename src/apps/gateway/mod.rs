//! `tilde gateway`: HTTP in front of a broker that knows no request and reply. A caller's connection is held until the answer
//! to its request appears; equal requests that wait at the same time share one.
//!
//! From the outside in: the ports, the HTTP side, the hall where callers wait, the groups that they form there, and the
//! transports. `src/docs/gateway.md` says what a back end sees.

mod settings;

mod front;
mod hall;

mod answer;
mod ear;
mod groups;
mod key;
mod request;

mod transport;

mod measures;

mod bench;

use std::sync::Arc;

use anyhow::Context;
use tokio::{runtime, time::timeout};

use self::{
    front::Front,
    hall::Hall,
    measures::Measures,
    settings::{Flags, Kind, Settings},
    transport::{Transport, broker::Broker, files::Files},
};
use super::{
    interrupt::{Interrupt, PATIENCE},
    journal::Journal,
    output::{self, Format},
    ports::{Connections, listen},
    remote::{Remote, Tenant},
};

/// Answer HTTP requests through a broker without request and reply: a directory, or topics
///
/// Each request becomes a file `<key>.req` with the method on its first line and the path on its second; the key is the MD5 of
/// method and path. Its caller waits until a back end has written `<key>.resp`, with the status on the first line and the body
/// behind it, and both files are gone.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

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

#[derive(clap::Subcommand, Debug)]
enum Command {
    Bench(bench::Args),
}

const EXAMPLES: &str = "\
Examples:
  mkdir box
  tilde gateway --directory box --timeout 20s
  curl 127.0.0.1:8090/hello                                      in another terminal; it waits
  printf '200\\nhi' > box/6c3ae8251c28a4439e557fd75e437b32.resp   in a third: the caller has its answer

A file with the settings, for --config:
  listen = \"127.0.0.1:8090\"
  mode = \"collapse\"                          or \"primitive\": equal requests take turns
  transport = \"files\"                        or \"broker\"
  directory = \"box\"
  timeout = \"20s\"
  collapse_key = [\"method\", \"path\", \"query\", \"header:accept-language\"]";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(Command::Bench(bench)) = args.command {
        return bench::run(bench, args.remote, args.tenant);
    }
    let settings = args.flags.settings()?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("gateway")
        .build()
        .context("no thread can be started")?;
    let result = runtime.block_on(serve(args, settings));
    runtime.shutdown_background();
    result
}

async fn serve(args: Args, settings: Settings) -> anyhow::Result<()> {
    let mut interrupt = Interrupt::listen(0)?;
    let connections = Connections::raised();
    let listener = listen(settings.listen)?;
    let metrics = settings.metrics.map(listen).transpose()?;
    let there = match settings.transport {
        Kind::Files => format!("files in {}", settings.directory.display()),
        Kind::Broker => format!("the broker at {}", args.remote.broker),
    };
    let mode = if settings.hall.collapses { "collapse" } else { "primitive" };
    let journal = Journal::start(args.format).context("no thread can be started")?;
    let transport: Box<dyn Transport> = match settings.transport {
        Kind::Files => Box::new(Files::start(settings.directory, journal.clone())?),
        Kind::Broker => Box::new(Broker::new(&args.remote, &args.tenant, journal.clone())?),
    };
    // Tests and scripts read these lines, and the ports in them.
    let say = |line: String| match args.format {
        Format::Text => output::line(line),
        Format::Json => {
            journal.info(&line);
            Ok(())
        }
    };
    say(format!("gateway is listening on http://{}, mode {mode}, through {there}", listener.local_addr()?))?;
    if let Some(metrics) = &metrics {
        say(format!("metrics are on http://{}/metrics", metrics.local_addr()?))?;
    }
    let measures = Arc::new(Measures::new());
    let hall = Arc::new(Hall::new(settings.hall, transport, journal.clone(), Arc::clone(&measures)));
    let front = Arc::new(Front::new(Arc::clone(&hall), journal, measures));
    let (asked, counted) = (Arc::clone(&front), front);
    let answering = connections.serve(listener, move |request| {
        let front = Arc::clone(&asked);
        async move { front.answer(request).await }
    });
    let counting = async {
        match metrics {
            Some(metrics) => {
                let answer = move |request| {
                    let front = Arc::clone(&counted);
                    async move { Ok(front.measured(&request)) }
                };
                connections.serve(metrics, answer).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = answering => {}
        () = counting => {}
        () = interrupt.wait() => {}
    }
    hall.stop();
    // Those who wait are told so; who does not listen is not waited for.
    let _ = timeout(PATIENCE / 2, connections.close()).await;
    Ok(())
}

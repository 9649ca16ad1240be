//! `tilde import`.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, anyhow};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{export::counted, file::Reader, target::STANDARD};
use crate::{
    apps::{
        failure::Failure,
        interrupt::Interrupt,
        output::{self, Format},
        progress::Progress,
        remote::{self, Remote},
    },
    client::Fault,
    pb::v1::{self as pb, ImportRequest, ImportResponse, TransferEnd, piece::Piece},
};

/// Bring what `tilde export` wrote into a namespace: schemas, messages, and subscriptions that go on where they were
///
/// The namespace must hold no messages and no subscriptions, and nobody may publish to it meanwhile. If there is none of
/// its name, it is made with the settings that it had. Schemas keep their ids: those that it has must be the same. Messages
/// get new sequences and the time of the import. An import that breaks off says what to do.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What `tilde export` wrote; `-` is standard input
    file: PathBuf,

    /// How to print what was imported
    #[arg(long, value_enum, default_value = "text", display_order = 900)]
    format: Format,

    /// The namespace that it becomes [default: the name that it had]
    #[arg(long, value_name = "NAME", env = "TILDE_NAMESPACE", help_heading = "Broker")]
    namespace: Option<String>,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde import orders.tilde --broker http://there:7126
  tilde import orders.tilde --namespace team-7";

/// A file, or standard input.
type Input = Box<dyn Read>;

/// Pieces that are under way to the broker.
const UNDER_WAY: usize = 4;

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async { args.import().await })
}

impl Args {
    async fn import(mut self) -> anyhow::Result<()> {
        // A variable that is set to nothing says nothing.
        self.namespace = self.namespace.filter(|name| !name.is_empty());
        let (reader, total) = self.open()?;
        let count = Arc::new(AtomicU64::new(0));
        let progress = Progress::show(count.clone(), total);
        let sent = self.send(reader, &count).await;
        drop(progress);
        let (namespace, answer) = sent?;
        self.print(&namespace, &answer)
    }

    /// Opens what is to be imported. A file is read to its end before, so that nothing of a damaged one is sent.
    fn open(&self) -> anyhow::Result<(Reader<Input>, Option<u64>)> {
        if self.file.as_os_str() == STANDARD {
            let input: Input = Box::new(BufReader::new(io::stdin()));
            return Ok((Reader::begin(input, "standard input")?, None));
        }
        let name = self.file.display().to_string();
        let open = || -> anyhow::Result<Reader<Input>> {
            let file = File::open(&self.file).with_context(|| format!("{name} cannot be read"))?;
            let input: Input = Box::new(BufReader::new(file));
            Reader::begin(input, &name)
        };
        if self.file.metadata().is_ok_and(|file| !file.is_file()) {
            // A pipe can be read only once.
            return Ok((open()?, None));
        }
        let (mut check, mut total) = (open()?, TransferEnd::default());
        while let Some(piece) = check.piece()? {
            if let Piece::End(end) = piece {
                total = end;
            }
        }
        Ok((open()?, Some(total.messages)))
    }

    /// Sends all pieces. Answers the namespace's name and what the broker said last.
    async fn send(&self, mut reader: Reader<Input>, count: &AtomicU64) -> anyhow::Result<(String, ImportResponse)> {
        let mut interrupt = Interrupt::listen(1)?;
        let mut client = self.remote.transfer().await?;
        let (send, requests) = mpsc::channel(UNDER_WAY);
        let answer = client.import(ReceiverStream::new(requests)).await;
        let mut answers = answer.map_err(|status| self.remote.failure(status))?.into_inner();
        let (mut namespace, mut last) = (String::new(), ImportResponse::default());
        // Why no more pieces come, if there should be more; and where they go to.
        let (mut cut, mut send) = (None, Some(send));
        loop {
            tokio::select! {
                biased;
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        count.store(answer.messages, Ordering::Relaxed);
                        last = answer;
                    }
                    Ok(None) => break,
                    Err(status) => return Err(self.broken(status, cut, &last).into()),
                },
                () = interrupt.wait(), if cut.is_none() => {
                    (cut, send) = (Some(anyhow!("stopped before all was imported")), None);
                }
                Some(room) = room(send.clone()) => match reader.piece() {
                    Ok(Some(piece)) => {
                        if let Piece::Namespace(settings) = &piece {
                            namespace = self.namespace.clone().unwrap_or_else(|| settings.name.clone());
                        }
                        let piece = Some(pb::Piece { piece: Some(piece), crc32c: 0 });
                        room.send(ImportRequest { piece, namespace: self.namespace.clone().unwrap_or_default() });
                    }
                    Ok(None) => send = None,
                    // The broker says how far it came.
                    Err(error) => (cut, send) = (Some(error), None),
                },
            }
        }
        match last.done {
            true => Ok((namespace, last)),
            false => Err(Failure::new("the broker ended the import before it was whole").hint(again(&last)).into()),
        }
    }

    /// The call failed. The broker says what follows, if it is the one that speaks.
    fn broken(&self, status: Status, cut: Option<anyhow::Error>, last: &ImportResponse) -> Failure {
        let fault = Fault::from(status);
        match cut {
            _ if fault.is_connection() => self.remote.failure(fault).hint(again(last)),
            Some(cut) => Failure::told(format!("{cut:#}; the broker says: {fault}")),
            None => self.remote.failure(fault),
        }
    }

    fn print(&self, namespace: &str, answer: &ImportResponse) -> anyhow::Result<()> {
        let &ImportResponse { messages, scheduled, expired, subscriptions, created, schemas, .. } = answer;
        if self.format == Format::Json {
            return Ok(output::json(&json!({
                "namespace": namespace, "messages": messages, "scheduled": scheduled, "expired": expired,
                "subscriptions": subscriptions, "schemas": schemas, "created": created,
            }))?);
        }
        let [messages, scheduled, subscriptions, schemas] = counted([messages, scheduled, subscriptions, schemas]);
        let expired = if expired > 0 { format!("; {expired} had expired") } else { String::new() };
        output::line(format!(
            "{messages}, {scheduled}, {subscriptions} and {schemas} imported into namespace {namespace}{expired}"
        ))?;
        if !created {
            eprintln!("namespace {namespace} was there, and keeps its settings");
        }
        Ok(())
    }
}

/// Room for one more piece; none where no more comes, or the broker takes no more and is about to say why.
async fn room(send: Option<mpsc::Sender<ImportRequest>>) -> Option<mpsc::OwnedPermit<ImportRequest>> {
    send?.reserve_owned().await.ok()
}

/// What to do when an import broke off after this.
fn again(last: &ImportResponse) -> String {
    format!(
        "at least {} were taken, and perhaps no subscription: delete the namespace, or purge its topics, and import again",
        output::count(last.messages, "message")
    )
}

//! `tilde export`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use serde_json::json;

use super::{
    file::Writer,
    target::{STANDARD, Target},
};
use crate::{
    apps::{
        failure::Failure,
        interrupt::Interrupt,
        output::{self, Format},
        progress::Progress,
        remote::{self, Remote, Tenant},
    },
    pb::v1::{self as pb, ExportRequest, TransferEnd, piece::Piece},
};

/// Write all that a namespace holds to a file: schemas, messages, and subscriptions with where they stand
///
/// `tilde import` brings it into any other broker, whatever the engine. Nothing is taken away. What is published while it
/// runs is not part of it, so let publishers and consumers stop before if you are moving house.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to; `-` is standard output. A file has this name only when it is whole, and replaces one that has it
    file: PathBuf,

    /// How to print what was exported
    #[arg(long, value_enum, default_value = "text", display_order = 900)]
    format: Format,

    #[command(flatten)]
    tenant: Tenant,

    #[command(flatten)]
    remote: Remote,
}

const EXAMPLES: &str = "\
Examples:
  tilde export orders.tilde
  tilde export orders.tilde --namespace team-7
  tilde export - | ssh there tilde import -";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    remote::run(async {
        let mut interrupt = Interrupt::listen(1)?;
        tokio::select! {
            done = args.export() => done,
            () = interrupt.wait() => Err(Failure::new("stopped before the export was whole: nothing was written").into()),
        }
    })
}

impl Args {
    async fn export(&self) -> anyhow::Result<()> {
        let mut client = self.remote.transfer().await?;
        let request = ExportRequest { namespace: self.tenant.namespace.clone() };
        let answer = client.export(request).await.map_err(|status| self.remote.failure(status))?;
        let mut pieces = answer.into_inner();
        let mut writer = Writer::begin(Target::begin(&self.file)?)?;
        let count = Arc::new(AtomicU64::new(0));
        let progress = Progress::show(count.clone(), None);
        let mut end = None;
        while let Some(answer) = pieces.message().await.map_err(|status| self.remote.failure(status))? {
            let piece = answer.piece.unwrap_or_default();
            match &piece.piece {
                Some(Piece::Messages(moved)) => drop(count.fetch_add(moved.messages.len() as u64, Ordering::Relaxed)),
                Some(Piece::End(told)) => end = Some(*told),
                _ => {}
            }
            writer.write(&piece).with_context(|| format!("{} cannot be written", self.file.display()))?;
        }
        drop(progress);
        let Some(end) = end else {
            return Err(Failure::new("the broker ended the export before it was whole: nothing was written").into());
        };
        let bytes = writer.bytes;
        writer.finish()?.keep()?;
        self.print(&end, bytes)
    }

    fn print(&self, end: &TransferEnd, bytes: u64) -> anyhow::Result<()> {
        let &pb::TransferEnd { messages, scheduled, subscriptions, schemas, .. } = end;
        let namespace = &self.tenant.namespace;
        let text = match self.format {
            Format::Json => json!({
                "namespace": namespace, "messages": messages, "scheduled": scheduled, "subscriptions": subscriptions,
                "schemas": schemas, "bytes": bytes,
            })
            .to_string(),
            Format::Text => {
                let [messages, scheduled, subscriptions, schemas] =
                    counted([messages, scheduled, subscriptions, schemas]);
                format!(
                    "{messages}, {scheduled}, {subscriptions} and {schemas} of namespace {namespace} exported, {}",
                    output::bytes(bytes)
                )
            }
        };
        match self.file.as_os_str() == STANDARD {
            // The export itself is there.
            true => eprintln!("{text}"),
            false => output::line(text)?,
        }
        Ok(())
    }
}

/// How much there is, in words.
pub fn counted([messages, scheduled, subscriptions, schemas]: [u64; 4]) -> [String; 4] {
    [
        output::count(messages, "message"),
        output::count(scheduled, "scheduled message"),
        output::count(subscriptions, "subscription"),
        output::count(schemas, "schema"),
    ]
}

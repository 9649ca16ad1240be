//! `tilde log`: what lies in a data directory, whether it is whole, and giving up what is damaged. Works on the files,
//! while no broker does.

mod inspect;
mod repair;
mod verify;

use std::path::{Path, PathBuf};

use super::{failure::Failure, output::Format};
use crate::{
    engine::log::{
        examine::{Directory, Examination},
        io::LogIo,
    },
    model::{NamespaceName, Timestamp},
};

/// Look into a data directory, check it, or repair it, while no broker runs on it
///
/// A broker refuses to start on files that are damaged, and names the file. `verify` tells what is damaged and which
/// messages that cost, `repair` gives them up and keeps all others; the damaged files stay beside the new ones, with
/// `.damaged` added to their names. What a crash tears off the end of a log is no damage: the broker cuts it off when it
/// starts.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    place: Place,
}

/// Which logs, and how to print.
#[derive(clap::Args, Debug)]
struct Place {
    /// The directory that holds the broker's data
    #[arg(long, value_name = "DIR", env = "TILDE_DATA", default_value = "./tilde-data", global = true)]
    data: PathBuf,

    /// The namespace [default: all]
    #[arg(long, value_name = "NAME", env = "TILDE_NAMESPACE", global = true)]
    namespace: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value = "text", global = true)]
    format: Format,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Inspect(inspect::Args),
    Verify(verify::Args),
    Repair(repair::Args),
}

const EXAMPLES: &str = "\
Examples:
  tilde log inspect                                    the files of all namespaces
  tilde log inspect --messages --namespace default     what lies in them, as it lies there
  tilde log verify --data /var/lib/tilde               exit code 1 if anything is damaged
  tilde log repair --dry-run                           what would be given up";

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Inspect(action) => inspect::run(&action, &args.place),
        Action::Verify(action) => verify::run(&action, &args.place),
        Action::Repair(action) => repair::run(&action, &args.place),
    }
}

/// A log that is looked at.
struct Examined {
    dir: PathBuf,
    log: Examination,
}

impl Place {
    fn open(&self) -> anyhow::Result<Directory> {
        Ok(Directory::open(&self.data).map_err(|error| Failure::new(error.to_string()))?)
    }

    /// The logs that were asked for, by name of their namespaces.
    fn names(&self, directory: &Directory, io: &dyn LogIo) -> anyhow::Result<Vec<NamespaceName>> {
        let all = directory.namespaces(io).map_err(|error| Failure::new(error.to_string()))?;
        let Some(name) = &self.namespace else { return Ok(all) };
        match all.iter().find(|known| known.as_str() == name) {
            Some(name) => Ok(vec![name.clone()]),
            None => Err(not_there(name, &self.data).into()),
        }
    }
}

fn not_there(name: &str, data: &Path) -> Failure {
    Failure::new(format!("{} holds no log of a namespace {name:?}", data.display()))
        .hint("without --namespace all that are there are looked at")
}

fn examine(directory: &Directory, io: &dyn LogIo, name: &NamespaceName) -> anyhow::Result<Examined> {
    let dir = directory.log(name);
    let log = Examination::new(io, &dir, name).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Examined { dir, log })
}

/// A time as RFC 3339 writes it; empty for 1970, which stands for none.
fn time(time: Timestamp) -> String {
    let (seconds, nanos) = time.parts();
    let wire = prost_types::Timestamp { seconds, nanos };
    super::output::time(Some(&wire).filter(|_| time > Timestamp::EPOCH))
}

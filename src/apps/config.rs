//! `tilde config`: whether a configuration holds, and what is in force.

use std::{env, path::PathBuf};

use super::{failure::Failure, output, serve};
use crate::config::{self, Loaded};

/// Check the broker's configuration, or show what is in force and where it comes from
///
/// Flags go before the environment, the environment before the file, the file before the defaults. The file is the one
/// that --config or TILDE_CONFIG names, else tilde.toml in the working directory if it is there. Each setting has a
/// variable: `tail_bytes` in the section `storage` is TILDE_STORAGE_TAIL_BYTES. One that begins with TILDE_
/// and names no setting is warned of.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Say OK, or everything that is wrong and where
    Check {
        /// The file [default: as `tilde serve` finds it]
        file: Option<PathBuf>,
    },
    /// Print what `tilde serve` would run with, as a file would say it
    Show {
        #[command(flatten)]
        settings: Box<serve::Settings>,
    },
}

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    serve::warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    match args.action {
        Action::Check { file } => check(file),
        Action::Show { settings } => {
            let loaded = settings.load()?;
            output::line(loaded.show().trim_end())?;
            Ok(())
        }
    }
}

fn check(file: Option<PathBuf>) -> anyhow::Result<()> {
    let named = file.or_else(|| env::var_os(serve::CONFIG_VARIABLE).map(PathBuf::from));
    let Loaded { config, file, .. } = config::load(named.as_deref(), serve::variable, &[])?;
    config.check_exposure().map_err(Failure::new)?;
    config.check_cluster().map_err(Failure::new)?;
    match file {
        Some(file) => output::line(format!("OK: {}", file.display()))?,
        None => output::line(format!("OK: there is no {} here, and what the environment says holds", config::FILE))?,
    }
    Ok(())
}

//! `tilde subscription show`.

use super::{
    describe,
    home::{Home, Name, Print},
};

/// One subscription, with where it stands
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    #[command(flatten)]
    print: Print,
}

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    describe::print(&home.get(&args.name).await?, None, args.print.format)
}

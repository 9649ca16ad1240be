//! `tilde subscription`: durable subscriptions, which remember what was settled. One file a subcommand, or two that
//! undo each other; `settings` and `webhook` are the flags of those that create and change, `describe` is how one is shown.

mod create;
mod list;
mod show;
mod update;

mod delete;
mod pause;
mod purge;
mod seek;

mod acknowledge;
mod pull;

mod explain;
mod pushes;
mod redrive;

mod describe;
mod home;
mod settings;
mod webhook;

use super::remote;
use home::Home;

/// Create and look after durable subscriptions: the broker remembers what each has settled
///
/// `tilde consume` works one off. A message that is not acknowledged comes again, and in the end lies with the dead
/// letters.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    home: Home,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Create(create::Args),
    List(list::Args),
    Show(show::Args),
    Update(update::Args),
    Delete(delete::Args),
    Seek(seek::Args),
    Pause(pause::Args),
    Resume(pause::ResumeArgs),
    Purge(purge::Args),
    Pull(pull::Args),
    Ack(acknowledge::Args),
    Redrive(redrive::Args),
    Explain(explain::Args),
    Pushes(pushes::Args),
    Resend(pushes::ResendArgs),
}

/// Runs it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let home = &args.home;
    remote::run(async {
        match &args.action {
            Action::Create(args) => create::run(args, home).await,
            Action::List(args) => list::run(args, home).await,
            Action::Show(args) => show::run(args, home).await,
            Action::Update(args) => update::run(args, home).await,
            Action::Delete(args) => delete::run(args, home).await,
            Action::Seek(args) => seek::run(args, home).await,
            Action::Pause(args) => pause::run(args, home).await,
            Action::Resume(args) => pause::resume(args, home).await,
            Action::Purge(args) => purge::run(args, home).await,
            Action::Pull(args) => pull::run(args, home).await,
            Action::Ack(args) => acknowledge::run(args, home).await,
            Action::Redrive(args) => redrive::run(args, home).await,
            Action::Explain(args) => explain::run(args, home).await,
            Action::Pushes(args) => pushes::run(args, home).await,
            Action::Resend(args) => pushes::resend(args, home).await,
        }
    })
}

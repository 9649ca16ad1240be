//! The binary `tilde`: parses, runs one thing, and prints an error that says what to do.

use std::{env, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tilde::apps::{
    bench, call, config, consume, dashes, events, failure,
    flags::{self, Flags},
    gateway, inbox, log, namespace, publish, respond, review, route, schema, serve, subscribe, subscription, topics,
    transfer::{export, import},
    watch,
};

// As fast as the others within noise, and the one that holds the least memory for idle connections.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Tilde: a message broker that speaks gRPC, in one binary.
#[derive(Parser)]
#[command(name = "tilde", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Publish(publish::Args),
    Subscribe(subscribe::Args),
    Call(call::Args),
    Respond(respond::Args),
    Consume(consume::Args),
    Inbox(inbox::Args),
    Gateway(gateway::Args),
    Subscription(subscription::Args),
    Watch(watch::Args),
    Review(review::Args),
    Route(route::Args),
    Events(events::Args),
    Topics(topics::Args),
    Namespace(namespace::Args),
    Schema(schema::Args),
    Export(export::Args),
    Import(import::Args),
    Config(config::Args),
    Log(log::Args),
    Bench(bench::Args),
}

const EXAMPLES: &str = "\
Three terminals:
  tilde serve                          the broker, with its data in ./tilde-data
  tilde subscribe 'orders/~'           all topics that begin with orders/
  tilde publish orders/eu '{\"id\":7}'

Exit codes:
  0  done; of `serve`, `subscribe`, `respond`, `consume`, `watch`, `review`, `route`, `events`,
     `publish --lines`: or stopped by a signal, with all in order
  1  failed, or refused by the broker; of `serve` and `config` also: a setting is wrong
  2  the command line is wrong or incomplete, and nothing was tried
  3  of `consume --count`: as many were settled as were asked for, and some of them as failed;
     of `call`: there is a reply, and it says that the one who answered failed";

fn main() -> ExitCode {
    let mut command = flags::signed(Cli::command());
    let arguments = dashes::doubled(&command, env::args_os());
    let matches = command.try_get_matches_from_mut(arguments).unwrap_or_else(|error| error.exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    let result = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Call(args) => call::run(args),
        Command::Respond(args) => respond::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Inbox(args) => inbox::run(args),
        Command::Gateway(args) => gateway::run(args),
        Command::Subscription(args) => subscription::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Review(args) => review::run(args),
        Command::Route(args) => route::run(args),
        Command::Events(args) => events::run(args),
        Command::Topics(args) => topics::run(args),
        Command::Namespace(args) => namespace::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Config(args) => config::run(args),
        Command::Log(args) => log::run(args),
        Command::Bench(args) => bench::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, &Flags::of(&command, &matches)),
    }
}

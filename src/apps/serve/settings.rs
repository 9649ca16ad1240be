//! The broker's settings as flags. What a setting means stands in `crate::config`.

use std::{env, path::PathBuf};

use clap::builder::PossibleValuesParser;

use crate::config::{self, Flag, Invalid, Loaded};

/// Names the file.
pub const CONFIG_VARIABLE: &str = "TILDE_CONFIG";

/// What can be said on the command line; all of it can stand in the file, and more.
#[derive(clap::Args, Debug)]
pub struct Settings {
    /// Where to listen: an IP address and a port; port 0 takes any free one [default: 127.0.0.1:7126]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// The directory that holds the data; it is made if it is not there [default: ./tilde-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Where messages are kept: on disk, in a NATS JetStream cluster that brokers share, or in memory until the broker stops
    /// [default: embedded]
    #[arg(long, value_parser = PossibleValuesParser::new(["embedded", "jetstream", "memory"]))]
    engine: Option<String>,

    /// The NATS servers of --engine jetstream, with commas in between; any that can be reached will do
    /// [default: nats://127.0.0.1:4222]
    #[arg(long, value_name = "URLS")]
    nats: Option<String>,

    /// Listen on an address that other machines can reach, although there are no credentials
    #[arg(long)]
    insecure: bool,

    /// Also serve another system on a port of its own: mailbox, schema-registry, webhook-inbox; may be
    /// repeated
    #[arg(long, value_name = "NAME=ADDR", value_parser = profile)]
    profile: Vec<Flag>,

    /// What is logged to standard error: off, error, warn, info, debug, trace, or directives as in
    /// info,tilde::engine=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,

    /// How it is logged: for people, or one object a line [default: text]
    #[arg(long, value_parser = PossibleValuesParser::new(["text", "json"]))]
    log_format: Option<String>,

    /// The file with the settings [default: tilde.toml in the working directory, if it is there]
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
    config: Option<PathBuf>,
}

impl Settings {
    /// What is in force, and where it came from.
    pub fn load(&self) -> Result<Loaded, Invalid> {
        config::load(self.config.as_deref(), variable, &self.flags())
    }

    fn flags(&self) -> Vec<Flag> {
        let given = [
            ("listen", "--listen", self.listen.clone()),
            ("data", "--data", self.data.clone()),
            ("engine", "--engine", self.engine.clone()),
            ("jetstream.urls", "--nats", self.nats.clone()),
            ("insecure", "--insecure", self.insecure.then(|| "true".to_owned())),
            ("log", "--log", self.log.clone()),
            ("log_format", "--log-format", self.log_format.clone()),
        ];
        let flags = given.into_iter().filter_map(|(key, name, value)| Some(Flag { key, name, value: value? }));
        flags.chain(self.profile.clone()).collect()
    }
}

/// Reads `mailbox=127.0.0.1:8080`.
fn profile(text: &str) -> Result<Flag, String> {
    let (name, address) = text.split_once('=').ok_or("write a profile's name, `=` and an address to listen on")?;
    let key = match name {
        "mailbox" => "profiles.mailbox.listen",
        "schema-registry" => "profiles.schema-registry.listen",
        "webhook-inbox" => "profiles.webhook-inbox.listen",
        _ => return Err(format!("there is no profile {name:?}: there are mailbox, schema-registry and webhook-inbox")),
    };
    Ok(Flag { key, name: "--profile", value: address.to_owned() })
}

/// What should be looked at in the environment, a sentence each.
pub fn warnings() -> Vec<String> {
    // A name that is no text is none of ours.
    let names: Vec<String> = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    config::warnings(names.iter().map(String::as_str))
}

/// A variable of the environment. One that is no text is as good as none.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

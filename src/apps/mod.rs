//! The subcommands of the binary, a file or folder each, all built alike: `Args`, `run`, helpers. All but `serve` reach
//! the broker as clients do, and can do nothing that a user of another language could not; but for `log`, which works on
//! the files of a broker that does not run.

pub mod serve;

pub mod publish;
pub mod subscribe;

pub mod call;
pub mod respond;

pub mod consume;
pub mod gateway;
pub mod inbox;
pub mod subscription;

pub mod review;
pub mod watch;

pub mod route;

pub mod namespace;
pub mod schema;
pub mod topics;

pub mod transfer;

pub mod events;

pub mod config;
pub mod log;

pub mod bench;

pub mod ask;
pub mod dashes;
pub mod delivery;
pub mod durability;
pub mod failure;
pub mod flags;
pub mod gap;
pub mod interrupt;
pub mod journal;
pub mod level;
pub mod limit;
pub mod message;
pub mod number;
pub mod output;
pub mod patience;
pub mod pattern;
pub mod payload;
pub mod ports;
pub mod program;
pub mod progress;
pub mod registry;
pub mod remote;
pub mod settings_file;
pub mod start;

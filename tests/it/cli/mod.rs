//! The binary from outside, as a person or a script uses it.

mod admin;
mod bench;
mod config;
mod consume;
mod explain;
mod fixtures;
mod log;
mod publish;
mod serve;
mod subscribe;
mod subscription;
mod transfer;

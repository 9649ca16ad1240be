//! Tilde: a message broker that speaks gRPC, in one binary.
//!
//! The modules in reading order; [`docs::architecture`] has the map with its arrows.

pub mod docs;

pub mod model;

pub mod engine;

pub mod schema;

pub mod broker;

pub mod pb;
pub mod server;

pub mod client;

pub mod apps;

pub mod clock;
pub mod config;
pub mod process;
pub mod shutdown;
pub mod telemetry;
pub mod units;

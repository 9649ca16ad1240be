//! Events on their way to the topics of their destinations, through the binary and from outside.

mod away;
mod bad;
mod campaign;
mod cases;
mod events;
mod registry;
mod reload;
mod settling;
mod support;

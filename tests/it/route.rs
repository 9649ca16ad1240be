//! Events on their way to the topics of their destinations, through the binary and from outside.

mod campaign;
mod cases;
mod events;
mod registry;
mod settling;
mod support;

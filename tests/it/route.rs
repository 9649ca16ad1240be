//! Events on their way to the topics of their destinations, through the binary and from outside.

mod campaign;
mod events;
mod registry;

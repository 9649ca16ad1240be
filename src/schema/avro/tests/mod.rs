//! What is expected of Avro's schemas.

mod agree;
mod broken;
mod pairs;
mod payloads;
mod random;
mod record;

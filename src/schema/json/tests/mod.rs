//! What is expected of JSON Schemas.

mod broken;
mod pairs;
mod payloads;
mod sound;

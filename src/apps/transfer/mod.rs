//! `tilde export` and `tilde import`: all that a namespace holds, in one file, out of one broker and into another.

pub mod export;
pub mod import;

pub mod file;
pub mod target;

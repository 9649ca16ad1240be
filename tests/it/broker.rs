//! The broker over the memory engine, on paused time: what it takes, what it delivers, and what it refuses.

mod begin;
mod catalog;
mod drain;
mod early;
mod explain;
mod filters;
mod keys;
mod lag;
mod live;
mod namespaces;
mod publish;
mod race;
mod routes;
mod schedule;
mod support;
mod work;

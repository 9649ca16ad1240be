//! All tests that look at Tilde from outside, a module a concern.

#![allow(missing_docs, reason = "the names of tests say what they claim")]

mod broker;
mod call;
mod cli;
mod client;
mod clients;
mod cluster;
mod crash;
mod deploy;
mod durability;
mod edge;
mod engines;
mod filter;
mod gateway;
mod grpcurl;
mod layers;
mod profiles;
mod readme;
mod rest;
mod review;
mod route;
mod schemas;
mod simulation;
mod support;
mod watch;
mod webhook;

//! All tests that look at Tilde from outside, a module a concern.

#![allow(missing_docs, reason = "the names of tests say what they claim")]

mod broker;
mod call;
mod cli;
mod client;
mod clients;
mod cluster;
mod crash;
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
mod simulation;
mod support;
mod webhook;

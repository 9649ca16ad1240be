//! Durable subscriptions in a world where everything goes wrong and that can be had again: publishers and consumers of
//! every kind of manners, a network that cuts and holds back, a broker that crashes and is stopped; all by one seed, in
//! simulated time, over the real server. What all of them saw is judged by what the broker promises.
//!
//! A seed that fails is printed. `TILDE_SEED=7 cargo test --test it whatever_goes_wrong -- --nocapture` runs that one
//! alone, and prints what happened.

mod bugs;
mod chaos;
pub mod check;
mod consumer;
mod disk;
pub mod history;
mod publisher;
mod world;

use self::{
    bugs::Bug,
    check::{Kind, check},
    history::{Event, History},
    world::run,
};
use crate::support::dice::rounds;

/// Fails if the history shows what must not be.
#[track_caller]
fn judge(seed: u64, history: &History) {
    let found = check(history);
    if !found.is_empty() {
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        panic!("seed {seed} (again: TILDE_SEED={seed}):\n{}", told.join("\n"));
    }
}

#[test]
fn whatever_goes_wrong_the_promises_hold() {
    if let Some(seed) = std::env::var_os("TILDE_SEED") {
        let seed = seed.into_string().unwrap().parse().unwrap();
        let history = run(seed, None);
        history.events.iter().for_each(|event| println!("{event}"));
        return judge(seed, &history);
    }
    for seed in 0..rounds(24, 1_000) as u64 {
        judge(seed, &run(seed, None));
    }
}

#[test]
fn a_seed_has_one_history() {
    for seed in 0..rounds(2, 50) as u64 {
        let (first, again) = (run(seed, None).events, run(seed, None).events);
        if let Some(at) = (0..first.len().max(again.len())).find(|at| first.get(*at) != again.get(*at)) {
            let around = |events: &[Event]| {
                let lines: Vec<_> =
                    events.iter().take(at + 3).skip(at.saturating_sub(10)).map(Event::to_string).collect();
                lines.join("\n")
            };
            panic!("seed {seed} has two histories:\n{}\nand\n{}", around(&first), around(&again));
        }
    }
}

/// The bug is found within some seeds, and as what it is.
#[track_caller]
fn is_found(bug: Bug, kind: Kind) {
    let shows = |seed| check(&run(seed, Some(bug))).iter().any(|violation| violation.kind == kind);
    assert!((0..10).any(shows), "{bug:?} was not found");
}

#[test]
fn a_settlement_that_is_confirmed_before_it_is_stored_is_found() {
    is_found(Bug::EarlyAnswer, Kind::Doubled);
}

#[test]
fn a_reader_that_misses_a_message_is_found() {
    is_found(Bug::ShortPage, Kind::Lost);
}

#[test]
fn an_order_that_is_forgotten_at_a_restart_is_found() {
    is_found(Bug::ForgottenOrder, Kind::Overtaken);
}

#[test]
fn a_filter_that_is_forgotten_at_a_restart_is_found() {
    is_found(Bug::ForgottenFilter, Kind::Phantom);
}

#[test]
fn two_brokers_on_the_same_data_are_found() {
    is_found(Bug::SecondBroker, Kind::TwoHolders);
}

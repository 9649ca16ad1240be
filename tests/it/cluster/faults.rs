//! What goes wrong with brokers and servers under load: nothing that was answered is lost, nothing that was confirmed
//! comes again, and the work goes on.

use std::time::Duration;

use rustix::process::Signal;

use super::{BROKERS, Cluster, load::Load};
use crate::support::dice::rounds;

/// Longer than a term of the office.
const LONG: Duration = Duration::from_secs(12);
/// Much longer.
const FROZEN: Duration = Duration::from_secs(30);

/// A cluster, and a load that has begun.
async fn busy() -> (Cluster, Load) {
    let cluster = Cluster::start().await;
    let load = Load::begin(&cluster).await;
    load.goes_on(200).await;
    (cluster, load)
}

/// The broker that works off the subscriptions is killed.
async fn kill_the_worker(cluster: &mut Cluster, load: &Load) {
    load.storm(true);
    let worker = cluster.worker().await;
    cluster.replace(worker);
    load.goes_on(200).await;
    load.storm(false);
}

/// A server is killed, and comes again when the work has gone on without it.
async fn kill_a_server(cluster: &mut Cluster, load: &Load, at: usize) {
    load.storm(true);
    cluster.nats.kill(at);
    load.goes_on(200).await;
    cluster.nats.restart(at);
    load.goes_on(200).await;
    load.storm(false);
}

/// The worker stands still, and wakes when another one has taken over.
async fn freeze_the_worker(cluster: &mut Cluster, load: &Load) {
    load.storm(true);
    let worker = cluster.worker().await;
    cluster.brokers[worker].signal(Signal::STOP);
    tokio::time::sleep(FROZEN).await;
    cluster.brokers[worker].signal(Signal::CONT);
    load.goes_on(200).await;
    load.storm(false);
}

/// The worker reaches no server, until another one has taken over.
async fn cut_the_worker_off(cluster: &mut Cluster, load: &Load) {
    load.storm(true);
    let worker = cluster.worker().await;
    cluster.cut_off(worker, true);
    tokio::time::sleep(LONG).await;
    cluster.worker_other_than(worker).await;
    cluster.cut_off(worker, false);
    load.goes_on(200).await;
    load.storm(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_asked_it_is_one_log_and_one_set_of_subscriptions() {
    let (cluster, load) = busy().await;
    load.goes_on(400).await;
    // Each of three servers has it, whatever was asked for.
    assert!(cluster.brokers[0].run(&["publish", "other", "x"]).text().contains("replicated"));
    load.judge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_is_killed_is_replaced_by_another_one() {
    let (mut cluster, load) = busy().await;
    for _ in 0..rounds(1, 5) {
        kill_the_worker(&mut cluster, &load).await;
    }
    load.judge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_is_not_missed() {
    let (mut cluster, load) = busy().await;
    for server in 0..rounds(2, 6) {
        kill_a_server(&mut cluster, &load, server % 3).await;
    }
    load.judge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_was_frozen_does_no_harm_when_it_wakes() {
    let (mut cluster, load) = busy().await;
    freeze_the_worker(&mut cluster, &load).await;
    load.judge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_is_cut_off_from_nats_leaves_the_work_to_others() {
    let (mut cluster, load) = busy().await;
    cut_the_worker_off(&mut cluster, &load).await;
    load.judge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_fault_after_the_other() {
    let (mut cluster, load) = busy().await;
    kill_the_worker(&mut cluster, &load).await;
    kill_a_server(&mut cluster, &load, 0).await;
    freeze_the_worker(&mut cluster, &load).await;
    cut_the_worker_off(&mut cluster, &load).await;
    load.judge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn brokers_are_restarted_one_after_the_other_and_no_client_hears_of_it() {
    let (mut cluster, load) = busy().await;
    for at in 0..BROKERS {
        load.storm(true);
        cluster.renew(at);
        load.goes_on(200).await;
        load.storm(false);
        load.goes_on(200).await;
    }
    load.judge(&cluster).await;
}

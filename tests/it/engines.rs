//! The conformance suite: what every engine must do, run on each of them. The memory engine is the reference.

mod append;
mod begin;
mod keep;
mod model;
mod number;
mod read;
mod state;
mod subject;

use std::sync::Arc;

use tilde::{
    engine::{
        jetstream::{self, JetStreamEngine},
        log::{Config, LogEngine},
        memory::MemoryEngine,
    },
    model::Durability,
};

use subject::{Subject, clock};

use crate::support::nats::Nats;

/// Makes a test of each case for one engine: a name for it, an async function that makes a [`Subject`], and with how many
/// of them the model is compared.
macro_rules! engine_suite {
    ($name:ident, $make:ident, $cases:literal) => {
        engine_suite!($name, $make, $cases, {
            append: a_batch_has_one_order_without_holes, publish_time_never_falls,
                an_id_published_again_gets_the_first_result, an_id_is_forgotten_after_the_window,
                an_id_twice_in_one_batch_is_taken_once, an_id_belongs_to_its_topic,
                the_expected_sequence_must_be_the_last, the_expected_sequence_counts_what_is_in_the_same_batch,
                atomic_is_all_or_none, others_are_refused_one_by_one, nobody_gets_less_than_was_asked_for;
            number: a_number_is_taken_once_whatever_is_sent_again, nothing_is_taken_behind_a_number_that_is_missing,
                a_number_that_was_refused_for_good_is_used_up, a_new_session_ends_the_one_before,
                a_producer_is_forgotten_after_the_window_unless_it_has_a_stream;
            read: pages_keep_their_limits, a_large_message_goes_alone, patterns_choose_and_the_brokers_own_are_apart,
                through_ends_a_page, nothing_is_read_after_the_end, what_has_expired_is_left_out,
                the_tail_and_the_log_tell_the_same, the_follower_hears_of_every_block;
            begin: the_last_so_many_are_counted_back, the_newest_of_each_topic_is_found, a_search_goes_through_everything_in_steps,
                a_time_is_where_what_came_then_begins, a_filter_chooses_everywhere;
            keep: odd_topics_are_topics, a_purge_hides_what_was_there, purges_at_the_same_time_all_count, a_purge_before_a_time_spares_what_is_newer,
                a_purged_topic_has_no_last_sequence, topics_are_listed_in_pages, bounds_tell_what_is_kept,
                retention_is_told_as_a_gap;
            state: it_changes_by_compare_and_set, it_is_listed_by_prefix, a_log_asked_for_twice_is_one,
                a_removed_log_comes_back_empty, namespaces_are_apart;
        });
    };
    ($name:ident, $make:ident, $cases:literal, { $($part:ident: $($case:ident),*;)* }) => {
        mod $name {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$part::$case(super::$make().await).await;
                }
            )*)*

            #[test]
            fn what_is_read_is_what_was_taken() {
                super::model::what_is_read_is_what_was_taken(super::$make, $cases);
            }
        }
    };
}

async fn memory() -> Subject {
    let clock = clock();
    let engine = Arc::new(MemoryEngine::pretending(clock.clone(), Durability::Synced));
    Subject { engine, clock, keep: Box::new(()) }
}

async fn embedded() -> Subject {
    // Small, so that what is tested crosses blocks, segments and the edge of memory.
    on_disk(Config { segment_min: 16 << 10, segment_max: 64 << 10, ..Config::default() })
}

async fn embedded_in_large_segments() -> Subject {
    // Of many spans each.
    on_disk(Config { segment_min: 1 << 20, ..Config::default() })
}

fn on_disk(config: Config) -> Subject {
    let clock = clock();
    let dir = tempfile::tempdir().unwrap();
    let config = Config { tail_bytes: 8 << 10, ..config };
    let engine = Arc::new(LogEngine::open(dir.path(), config, clock.clone()).unwrap());
    Subject { engine, clock, keep: Box::new(dir) }
}

async fn one_server() -> Subject {
    on_nats(Nats::start()).await
}

async fn three_servers() -> Subject {
    on_nats(Nats::cluster()).await
}

async fn on_nats(nats: Nats) -> Subject {
    let (clock, replicas) = (clock(), nats.replicas());
    let config = jetstream::Config { urls: nats.urls(), replicas, tail_bytes: 8 << 10, ..jetstream::Config::default() };
    let engine = Arc::new(JetStreamEngine::open(config, clock.clone()).await.unwrap());
    Subject { engine, clock, keep: Box::new(nats) }
}

engine_suite!(in_memory, memory, 48);
engine_suite!(on_disk, embedded, 48);
engine_suite!(on_disk_in_large_segments, embedded_in_large_segments, 48);
engine_suite!(in_jetstream, one_server, 48);
// A cluster is started for each case.
engine_suite!(in_jetstream_of_three, three_servers, 12);

//! `tilde watch` from outside: real files, a real broker, and real editors.
//!
//! The cases of the system that it stands for, and what holds them:
//!
//! | case | held by |
//! |---|---|
//! | 1, 2, 3, 8: what a pattern matches | `cases::a_subscriber_gets_what_its_pattern_matches` |
//! | 4: exactly what was published | `profiles::webhook_inbox::everyone_gets_what_was_published_as_it_was` |
//! | 5, 6: exact topics, and two patterns for one | `cases::a_subscriber_gets_what_its_pattern_matches` |
//! | 10: what makes no sense | `cli::subscribe::what_is_refused_says_why`, `webhook::targets::what_is_not_public_is_refused_when_it_is_set_up` |
//! | 11: a status | `edge::operators` |
//! | 12: one that is dead | `review::one_that_is_slow_and_one_that_is_dead_disturb_nobody`, `webhook::many::the_other_97_have_everything_before_the_slow_one_answers` |
//! | 15: what was published before | `cases::who_comes_later_gets_what_is_new` |
//! | 16: one that was removed | `cases::who_left_gets_nothing` |
//! | 17, 18, 19, 28: logs and the terminal | `cases::an_important_change_is_logged_and_printed_and_another_only_logged` |
//! | 20, 21: what is no change | `cases::what_changes_nothing_is_not_published` |
//! | 22: new files | `cases::what_comes_later_is_not_published`, `cases::all_events_are_published_if_they_are_asked_for` |
//! | 23: binary files | `content::binary_and_huge_files_are_told_with_sizes_and_hashes` |

mod cases;
mod content;
mod names;
mod session;
mod state;
mod trouble;
mod world;

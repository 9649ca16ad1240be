//! `tilde gateway` through the real binary, on real directories and sockets, and on a real broker.
//!
//! | case of its description | held by |
//! |---|---|
//! | 1 | `directory::a_request_is_a_file_that_names_method_and_path` |
//! | 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14 | `transports`, all of them through files and through a broker (22) |
//! | 11 | `directory::without_the_directory_it_is_503_at_once_until_it_is_there` |
//! | 14 | `directory::an_answer_that_is_none_is_502_and_gone` besides |
//! | 17 | `directory::files_that_are_gone_or_cannot_go_keep_no_answer_from_its_caller` |
//! | 20, 21, 22 | `settings` |
//! | 23 | `load::as_many_as_one_likes_are_answered_as_written` |
//! | 24 | all of them: what they read of the log is standard output |
//!
//! Short by default; with `TILDE_CAMPAIGN` in the environment the numbers in `rounds` are the large ones.

mod directory;
mod load;
mod settings;
mod support;
mod transports;

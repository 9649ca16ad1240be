//! Other systems, served as their clients know them: the cases of their own descriptions, over HTTP.

mod mailbox;
mod webhook_inbox;

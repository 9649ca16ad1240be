//! Asks before something is removed for good.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;

/// Asks `question` on the terminal. Where nobody can be asked it refuses and names the flag.
pub fn confirm(question: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked here: add --yes to go on without asking").into());
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was changed").into()),
    }
}

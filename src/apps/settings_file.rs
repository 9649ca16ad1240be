//! A file with the settings of a program, as TOML. What is wrong with it is told with its place. Never knows a setting.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use super::failure::Failure;

/// Reads one.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| Failure::new(format!("{shown} cannot be read: {error}")))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let place = error.span().map_or(shown.to_string(), |span| format!("{shown}, line {}", line(span.start)));
        Failure::new(format!("{place}: {}", error.message().trim().replace('\n', ", ")))
    })
}

//! The tools that the tests run beside the broker.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Where `tests/run` put a tool, or where the system has it.
#[track_caller]
pub fn tool(name: &str) -> PathBuf {
    let installed = env::var_os("TILDE_TOOLS").map(PathBuf::from);
    let installed = installed.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(installed).chain(env::split_paths(&path));
    let found = places.find_map(|place| Some(place.join(name)).filter(|file| file.is_file()));
    found.unwrap_or_else(|| panic!("{name} is missing: run tests/run once, which installs what the tests need"))
}

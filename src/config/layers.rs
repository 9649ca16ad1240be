//! Lays flags over environment over file over defaults, and remembers which gave each setting. Every setting is
//! checked by itself, so that all faults are told at once, each with its place.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value, de::DeTable};

use super::{Config, strays};

/// The file that is read from the working directory if none is named.
pub const FILE: &str = "tilde.toml";

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Which setting: `storage.tail_bytes`.
    pub key: &'static str,
    /// As it was written: `--tail-bytes`.
    pub name: &'static str,
    /// What it was set to.
    pub value: String,
}

/// A configuration that holds, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    origins: BTreeMap<String, Origin>,
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file, and the line in it, counted from 1.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

/// Everything that is wrong: a sentence each, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Vec<String>);

/// Settings by key, nested ones with dots, as in `storage.tail_bytes`.
type Flat = BTreeMap<String, Value>;

/// Puts a configuration together. `file` is the one that was named; else [`FILE`] is read if it is there. `environment`
/// looks a variable up.
pub fn load(
    file: Option<&Path>,
    environment: impl Fn(&str) -> Option<String>,
    flags: &[Flag],
) -> Result<Loaded, Invalid> {
    let defaults = flatten(&defaults());
    let mut settings = Vec::new();
    let mut faults = Vec::new();
    let file = file.map(Path::to_owned).or_else(|| Path::new(FILE).is_file().then(|| FILE.into()));
    if let Some(path) = &file {
        for (key, value, origin) in read(path)? {
            // A section without a setting says nothing, unless nobody knows it.
            let empty = value.as_table().is_some_and(Table::is_empty);
            if !(empty && sections(&defaults).any(|section| section == key)) {
                settings.push((key, Ok(value), origin));
            }
        }
    }
    for (key, default) in &defaults {
        let name = variable(key);
        if let Some(text) = environment(&name) {
            settings.push((key.clone(), typed(text, default), Origin::Environment(name)));
        }
    }
    for Flag { key, name, value } in flags {
        settings.push((key.to_string(), typed(value.clone(), &defaults[*key]), Origin::Flag(name)));
    }

    let mut values = defaults.clone();
    let mut origins = BTreeMap::new();
    for (key, value, origin) in settings {
        match value.and_then(|value| check(&defaults, &key, value)) {
            Ok(value) => {
                values.insert(key.clone(), value);
                origins.insert(key, origin);
            }
            Err(fault) => faults.push(format!("{origin}: {key}: {fault}")),
        }
    }
    match nest(&values).try_into() {
        Ok(config) if faults.is_empty() => Ok(Loaded { config, file, origins }),
        Ok(_) => Err(Invalid(faults)),
        Err(error) => Err(Invalid(vec![sentence(&error)])),
    }
}

/// What should be looked at in the environment, a sentence each. `names` are the names of its variables.
pub fn warnings<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let known: Vec<String> = flatten(&defaults()).keys().map(|key| variable(key)).collect();
    strays::strays(names, &known)
}

impl Loaded {
    /// The configuration as a file would say it, each setting with where it came from.
    pub fn show(&self) -> String {
        use std::fmt::Write;

        let table = Table::try_from(&self.config).expect("a configuration can be written as TOML");
        let mut out = String::new();
        let mut section = "";
        // Keys without a section come first, or they would belong to the section before them.
        let flat = flatten(&table);
        let (nested, plain): (Vec<_>, Vec<_>) = flat.iter().partition(|(key, _)| key.contains('.'));
        for (key, value) in plain.into_iter().chain(nested) {
            let (within, name) = key.rsplit_once('.').unwrap_or(("", key));
            if within != section {
                let _ = write!(out, "\n[{within}]\n");
                section = within;
            }
            let line = format!("{name} = {value}");
            let origin = self.origins.get(key).unwrap_or(&Origin::Default);
            let _ = writeln!(out, "{line:<36} # {origin}");
        }
        out
    }
}

/// What is set if nobody says anything.
fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the defaults can be written as TOML")
}

/// The settings of a file, each with its line.
fn read(path: &Path) -> Result<Vec<(String, Value, Origin)>, Invalid> {
    let fault = |place: String, what: String| Invalid(vec![format!("{place}: {what}")]);
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| fault(shown.clone(), format!("cannot be read: {error}")))?;
    let line = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let place = error.span().map_or(shown.clone(), |span| format!("{shown}, line {}", line(span.start)));
        fault(place, format!("this is no TOML: {}", sentence(&error)))
    })?;
    let spans = DeTable::parse(&text).map(toml::Spanned::into_inner).unwrap_or_default();
    let settings = flatten(&table).into_iter().map(|(key, value)| {
        let line = line(position(&spans, &key).unwrap_or_default());
        (key, value, Origin::File(path.to_owned(), line))
    });
    Ok(settings.collect())
}

/// Where in its file a setting begins.
fn position(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    let (found, value) = table.iter().find(|(found, _)| found.get_ref() == name)?;
    match (rest, value.get_ref().as_table()) {
        (Some(rest), Some(inner)) => position(inner, rest),
        _ => Some(found.span().start),
    }
}

/// Checks one setting by laying it over the defaults.
fn check(defaults: &Flat, key: &str, value: Value) -> Result<Value, String> {
    if !defaults.contains_key(key) {
        return Err(unknown(defaults, key));
    }
    let table = nest([(key, &value)]);
    let config = Config::deserialize(table).map_err(|error| sentence(&error))?;
    config.check_ranges().map(|()| value)
}

/// A key that nobody knows: says which there are in its place.
fn unknown(defaults: &Flat, key: &str) -> String {
    if sections(defaults).any(|section| section == key) {
        return format!("this is a section: write it as [{key}], with its settings below");
    }
    let section = key.split_once('.').map(|(section, _)| section);
    let section = section.filter(|name| sections(defaults).any(|section| section == *name));
    let within = defaults.keys().filter_map(|known| match (section, known.split_once('.')) {
        (Some(section), Some((within, name))) => (within == section).then_some(name),
        (None, None) => Some(known.as_str()),
        _ => None,
    });
    let names = within.collect::<Vec<_>>().join(", ");
    match section {
        Some(section) => format!("there is no such setting: [{section}] has {names}"),
        None => {
            let mut sections: Vec<_> = sections(defaults).map(|section| format!("[{section}]")).collect();
            sections.dedup();
            format!("there is no such setting: there are {names}, and the sections {}", sections.join(", "))
        }
    }
}

/// The sections there are, each as often as it has settings.
fn sections(defaults: &Flat) -> impl Iterator<Item = &str> {
    defaults.keys().filter_map(|key| Some(key.split_once('.')?.0))
}

/// The variable that sets `key`: `TILDE_STORAGE_TAIL_BYTES`.
fn variable(key: &str) -> String {
    format!("TILDE_{}", key.replace('.', "_").to_uppercase())
}

/// Text as the kind of value that a setting takes.
fn typed(text: String, default: &Value) -> Result<Value, String> {
    match default {
        Value::Integer(_) => {
            text.trim().parse().map(Value::Integer).map_err(|_| format!("{text:?} is no whole number"))
        }
        Value::Boolean(_) => match text.trim() {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" | "" => Ok(Value::Boolean(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        _ => Ok(Value::String(text)),
    }
}

/// What the parser says, in one line.
fn sentence(error: &toml::de::Error) -> String {
    error.message().trim().replace('\n', ", ")
}

/// A nested table by keys with dots. An empty table stays, so that a section that nobody knows is seen.
fn flatten(table: &Table) -> Flat {
    fn walk(prefix: &str, table: &Table, flat: &mut Flat) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                Value::Table(inner) if !inner.is_empty() => walk(&format!("{key}."), inner, flat),
                value => drop(flat.insert(key, value.clone())),
            }
        }
    }
    let mut flat = Flat::new();
    walk("", table, &mut flat);
    flat
}

/// The other way round.
fn nest<'a, K: AsRef<str> + 'a, V: std::borrow::Borrow<Value> + 'a>(flat: impl IntoIterator<Item = (K, V)>) -> Table {
    let mut table = Table::new();
    for (key, value) in flat {
        let value = value.borrow().clone();
        match key.as_ref().split_once('.') {
            Some((section, key)) => {
                let section = table.entry(section).or_insert_with(|| Table::new().into());
                if let Value::Table(section) = section {
                    section.insert(key.to_owned(), value);
                }
            }
            None => drop(table.insert(key.as_ref().to_owned(), value)),
        }
    }
    table
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n       "))
    }
}

impl std::error::Error for Invalid {}

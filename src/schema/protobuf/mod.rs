//! Protobuf, both syntaxes: `protox` compiles a text, which is reduced to a [`table`] of messages; along it a payload is
//! walked ([`walk`]), and another file's messages are compared ([`read`]). A file is imported from what was handed over,
//! or is one that Google ships; never from a disk. Instead of its text it may be [`described`].

mod described;
mod read;
mod table;
mod walk;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt::Write};

use protox::{
    Compiler,
    file::{File, FileResolver, GoogleFileResolver},
};

use super::{Broken, Limits, Violation, definition::Referenced, fault::Fault, path};
use table::Table;

/// A schema that is ready.
#[derive(Debug)]
pub struct Protobuf {
    table: Table,
    normalized: String,
    descriptor: String,
    depth: usize,
}

/// The name of the text itself among the files.
const SELF: &str = path::ROOT;

impl Protobuf {
    pub fn parse(text: &str, references: &[Referenced<'_>], limits: &Limits) -> Result<Self, Broken> {
        let named = references.iter().map(|Referenced { name, text, .. }| (*name, *text));
        let files = named.chain([(SELF, text)]).map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let mut compiler = Compiler::with_file_resolver(Files { files, google: GoogleFileResolver::new() });
        compiler.open_file(SELF).map_err(|fault| broken(&fault))?;
        let pool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(SELF).ok_or_else(|| Broken::whole("there is no file"))?;
        let table = Table::new(&file, limits)?;
        let set = compiler.encode_file_descriptor_set();
        let mut normalized = String::new();
        for byte in &set {
            write!(normalized, "{byte:02x}").expect("a text takes all");
        }
        Ok(Protobuf { table, normalized, descriptor: described::write(&set), depth: limits.payload_depth })
    }

    pub fn normalized(&self) -> &str {
        &self.normalized
    }

    pub fn descriptor(&self) -> &str {
        &self.descriptor
    }

    pub fn validate(&self, payload: &[u8], message: &[u32]) -> Result<(), Violation> {
        let messages = self.table.find(message).map_err(|what| Violation::new(path::ROOT, what))?;
        let mut checked = messages.into_iter().map(|message| walk::check(&self.table, message, payload, self.depth));
        let first = checked.next().expect("what is found is something");
        // If it is none of them, what is told is about the first.
        first.or_else(|violation| checked.find(Result::is_ok).unwrap_or(Err(violation)))
    }

    /// Why this schema cannot read what `writer` wrote.
    pub fn read(&self, writer: &Protobuf) -> Vec<Fault> {
        read::read(&self.table, &writer.table)
    }
}

/// Where files are imported from.
struct Files {
    files: HashMap<String, String>,
    google: GoogleFileResolver,
}

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        // Google's own come first: two versions of one would be defined twice.
        match self.google.open_file(name) {
            Err(fault) if fault.is_file_not_found() => match self.files.get(name) {
                Some(text) => described::read(name, text).unwrap_or_else(|| File::from_source(name, text)),
                None => Err(fault),
            },
            opened => opened,
        }
    }
}

/// What the compiler says, which is `file:line:column: sentence` where it knows the place.
fn broken(fault: &protox::Error) -> Broken {
    let told = fault.file().map_or_else(|| fault.to_string(), |_| format!("{fault:?}"));
    let file = fault.file().unwrap_or(SELF);
    let rest = told.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')).unwrap_or(&told);
    let mut parts = rest.splitn(3, ':');
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
    let (path, what) = match (number(parts.next()), number(parts.next()), parts.next()) {
        (Some(line), Some(column), Some(what)) => (format!("{line}:{column}"), what),
        _ => (path::ROOT.to_owned(), rest),
    };
    let hint = match fault.is_file_not_found() {
        true => ": add it to the references, under the name by which it is imported",
        false => "",
    };
    let broken = Broken::new(path, format!("{}{hint}", what.trim()));
    if file == SELF { broken } else { broken.referenced(file) }
}

//! A file as its descriptor in base64: what serializers send that have the descriptor at hand and not the text, and what they
//! want to be sent. Never resolves what a file imports.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use protox::file::File;

/// A set of files, each as it is encoded: options that nobody here knows stay in them.
#[derive(Clone, PartialEq, prost::Message)]
struct Encoded {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// The file of a text that is a descriptor, under another name; None if the text is none.
pub fn read(name: &str, text: &str) -> Option<Result<File, protox::Error>> {
    // What is written as a file has blanks or semicolons, which base64 has not.
    let mut bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| !bytes.is_empty())?;
    // Of two names the last one counts.
    bytes.extend(FileDescriptorProto { name: Some(name.to_owned()), ..Default::default() }.encode_to_vec());
    let file = File::decode_file_descriptor_proto(bytes.as_slice()).ok()?;
    // The compiler panics at others.
    match file.file_descriptor_proto().syntax() {
        "" | "proto2" | "proto3" => Some(Ok(file)),
        other => Some(Err(protox::Error::new(format!("unknown syntax {other:?}: proto2 and proto3 are taken")))),
    }
}

/// The first file of an encoded set.
pub fn write(set: &[u8]) -> String {
    let first = Encoded::decode(set).ok().and_then(|set| set.files.into_iter().next());
    STANDARD.encode(first.expect("the compiler encodes the files that it was given"))
}

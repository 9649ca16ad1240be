//! Generates the code of the wire contract from `proto/`, with a compiler in Rust: no `protoc` is needed.
//!
//! Two passes. The first makes the messages, the clients and the descriptors for reflection, all of it ordinary. The
//! second makes the servers only, over the same messages, with a codec of ours; what is
//! published comes in as bytes. The streams of `Broker` are left out of it:
//! they have bodies of their own (`server/grpc/subscribe.rs` says why).

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use tonic_prost_build::FileDescriptorSet;

const FILES: [&str; 6] = [
    "tilde/v1/message.proto",
    "tilde/v1/broker.proto",
    "tilde/v1/subscriptions.proto",
    "tilde/v1/schemas.proto",
    "tilde/v1/admin.proto",
    "tilde/v1/transfer.proto",
];

/// Served by hand: a service, and its methods.
const BY_HAND: (&str, [&str; 3]) = ("Broker", ["PublishStream", "Subscribe", "Consume"]);

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &encoded)?;
    let set = FileDescriptorSet::decode(encoded.as_slice())?;

    fs::create_dir_all(out.join("client"))?;
    tonic_prost_build::configure()
        .build_server(false)
        .btree_map(".")
        .bytes(".tilde.v1.PublishRequest.data")
        .bytes(".tilde.v1.Message.data")
        .out_dir(out.join("client"))
        .compile_fds(set.clone())?;

    fs::create_dir_all(out.join("server"))?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".tilde.v1", "crate::pb::v1")
        .extern_path(".tilde.v1.PublishRequest", "crate::server::grpc::incoming::Raw")
        .extern_path(".tilde.v1.BatchPublishRequest", "crate::server::grpc::incoming::Raw")
        .extern_path(".tilde.v1.CallRequest", "crate::server::grpc::incoming::Raw")
        .codec_path("crate::server::grpc::codec::Codec")
        .out_dir(out.join("server"))
        .compile_fds(without_methods_by_hand(set))?;
    Ok(())
}

fn without_methods_by_hand(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut set.file {
        // Comments are found by position, and the positions are about to change.
        file.source_code_info = None;
        for service in file.service.iter_mut().filter(|service| service.name() == BY_HAND.0) {
            service.method.retain(|method| !BY_HAND.1.contains(&method.name()));
        }
    }
    set
}

//! Bits that flip in what was synced: found, named, and never handed out.

use std::path::Path;

use tilde::pb::v1::{Namespace, PublishRequest, SubscribeRequest, UpdateNamespaceRequest, start_position::Position};
use tonic::Code;

use super::{
    client::{earliest, everything, start, text},
    *,
};
use crate::support::{self, run};

/// Bytes before a block's records: see `engine/log/frame.rs`.
const HEADER: usize = 48;
/// Where a segment's first block lies, and how much of what comes before it is in use.
const BLOCKS: usize = 4096;
const USED: usize = 56;

/// A directory with a log of several segments, closed in order. Answers with its messages' sequences.
async fn filled(directory: &Path) -> Vec<u64> {
    let broker = Tilde::start_in(directory, &[]);
    let client = Client::of(&broker).await;
    // Otherwise the ids of the last minutes are looked for in all segments, whatever `verify` says.
    let namespace =
        Namespace { name: "default".into(), deduplication_window: Some(Default::default()), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["deduplication_window".into()] });
    let request = UpdateNamespaceRequest { namespace: Some(namespace), update_mask };
    client.namespaces().update_namespace(request).await.unwrap();
    let mut sequences = Vec::new();
    for number in 0..60 {
        let answer = client.publish(message("a", format!("{number} {}", "x".repeat(30_000)))).await.unwrap();
        sequences.push(answer.sequence);
    }
    broker.stop();
    sequences
}

/// Where the blocks of a segment lie: offset and bytes, the closing block last.
fn blocks(segment: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut at = BLOCKS;
    while segment.get(at..at + 4) == Some(b"TBLK") {
        let bytes = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
        blocks.push((at, HEADER + bytes));
        at += HEADER + bytes;
    }
    blocks
}

/// Flips one bit, for as long as this lives.
struct Flip {
    path: std::path::PathBuf,
    byte: usize,
    bit: u8,
}

impl Flip {
    fn new(directory: &Path, file: &str, byte: usize, bit: u8) -> Self {
        let path = directory.join("data/logs/default").join(file);
        let flip = Flip { path, byte, bit };
        flip.flip();
        flip
    }

    fn flip(&self) {
        let mut bytes = fs::read(&self.path).unwrap();
        bytes[self.byte] ^= 1 << self.bit;
        fs::write(&self.path, bytes).unwrap();
    }
}

impl Drop for Flip {
    fn drop(&mut self) {
        self.flip();
    }
}

#[tokio::test]
async fn a_damaged_log_is_not_opened_and_the_place_is_named() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path()).await;
    let segments = segments(place.path(), "default");
    assert!(segments.len() >= 3, "sealed ones and one that is written: {}", segments.len());
    let mut dice = Dice::new();
    for round in 0..rounds(12, 300) {
        // The one that was written last every other time.
        let at = if round % 2 == 0 { segments.len() - 1 } else { dice.roll(segments.len() as u64 - 1) as usize };
        let (file, bytes) = &segments[at];
        let mut blocks = blocks(bytes);
        assert!(blocks.len() > 1, "{file} holds too little");
        if at == segments.len() - 1 {
            // The closing block itself says nothing that is missed.
            blocks.pop();
        }
        let (offset, size) = blocks[dice.roll(blocks.len() as u64) as usize];
        let within = if dice.hits(2) { dice.roll(HEADER as u64) as usize } else { dice.roll(size as u64) as usize };
        let _flip = Flip::new(place.path(), file, offset + within, dice.roll(8) as u8);
        let told = run(support::serve(place.path(), &[]), None).told(1);
        let last = told.lines().last().unwrap();
        assert!(last.starts_with("error: namespace default: "), "byte {within} of the block at {offset}: {told}");
        assert!(last.contains(&format!("{file} is damaged at offset {offset}:")), "{within} at {offset}: {told}");
        assert!(last.contains("tilde log repair"), "{told}");
    }
    // All flips are taken back.
    Tilde::start_in(place.path(), &[]).stop();
}

#[tokio::test]
async fn a_damaged_header_is_named_too() {
    let place = tempfile::tempdir().unwrap();
    filled(place.path()).await;
    for (file, _) in segments(place.path(), "default") {
        for byte in [0, 9, 13, USED - 1] {
            let _flip = Flip::new(place.path(), &file, byte, 3);
            let told = run(support::serve(place.path(), &[]), None).told(1);
            let last = told.lines().last().unwrap();
            assert!(last.starts_with("error: namespace default: ") && last.contains(&file), "{told}");
        }
    }
}

#[tokio::test]
async fn a_damaged_index_is_built_anew() {
    let place = tempfile::tempdir().unwrap();
    let sequences = filled(place.path()).await;
    let (file, _) = segments(place.path(), "default").swap_remove(0);
    let index = file.replace(".log", ".idx");
    let index = place.path().join("data/logs/default").join(index);
    let length = fs::metadata(&index).unwrap().len() as usize;
    for byte in (0..length).step_by((length / rounds(16, 100)) | 1) {
        let verify = if byte % 2 == 0 { "all" } else { "tail" };
        let mut bytes = fs::read(&index).unwrap();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(&index, bytes).unwrap();
        let broker = start_with(place.path(), verify);
        let client = Client::of(&broker).await;
        let request = SubscribeRequest { topics: vec!["a".into()], start: start(earliest()), ..Default::default() };
        let read = client.read_with(request).await;
        assert_eq!(read.messages.iter().map(|message| message.sequence).collect::<Vec<_>>(), sequences);
        broker.stop();
    }
}

fn start_with(directory: &Path, verify: &str) -> Tilde {
    Tilde::start_as(directory, &[], |mut command| {
        command.env("TILDE_STORAGE_VERIFY", verify);
        command
    })
}

#[tokio::test]
async fn with_verify_tail_the_read_that_meets_the_damage_fails_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let sequences = filled(place.path()).await;
    let segments = segments(place.path(), "default");
    let (file, bytes) = &segments[1];
    let blocks = blocks(bytes);
    let &(offset, size) = &blocks[blocks.len() / 2];
    let first: u64 = file.trim_end_matches(".log").parse().unwrap();
    let _flip = Flip::new(place.path(), file, offset + size / 2, 5);
    let broker = start_with(place.path(), "tail");
    let client = Client::of(&broker).await;

    let read = client.read(earliest()).await;
    let fault = ended_with(read.failure, Code::Internal, "STORAGE_CORRUPT");
    assert!(fault.message.contains(&format!("{file} is damaged at offset {offset}")), "{fault}");
    assert!(!fault.message.contains(place.path().to_str().unwrap()), "a path is told: {fault}");
    let got: Vec<u64> = read.messages.iter().map(|message| message.sequence).collect();
    assert!(got.contains(&(first - 1)), "what lies before the damage is handed out: {got:?}");
    assert_eq!(got, &sequences[..got.len()]);
    for (number, message) in read.messages.iter().enumerate() {
        assert!(text(message).starts_with(&format!("{number} ")) && text(message).ends_with('x'));
    }

    let behind: u64 = segments[2].0.trim_end_matches(".log").parse().unwrap();
    let read = client.read(Position::Sequence(behind)).await;
    assert!(read.failure.is_none(), "{:?}", read.failure);
    let got: Vec<u64> = read.messages.iter().map(|message| message.sequence).collect();
    assert_eq!(Some(&*got), sequences.iter().position(|&known| known == behind).map(|at| &sequences[at..]));
    let mut live = client.subscribe(everything()).await.unwrap();
    client.publish(PublishRequest { ..message("b", "it goes on") }).await.unwrap();
    while client::next(&mut live).await.unwrap().unwrap().messages.is_empty() {}
    assert_eq!(client.page("/readyz").await, "HTTP/1.1 200 OK");
    broker.stop();
}

#[test]
fn a_state_that_is_gone_or_damaged_is_named_and_a_repair_keeps_every_message() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| fs::write(path, []).unwrap()),
        ("cut off early", |path| fs::write(path, &fs::read(path).unwrap()[..4096]).unwrap()),
        ("cut off late", |path| fs::write(path, &fs::read(path).unwrap()[..100_000]).unwrap()),
        ("other", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[..64].fill(b'Z');
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let place = tempfile::tempdir().unwrap();
        let broker = Tilde::start_in(place.path(), &[]);
        broker.run(&["namespace", "create", "team", "--max-age", "1h"]).ok();
        broker.run(&["publish", "a", "kept", "--namespace", "team"]).ok();
        broker.run(&["publish", "a", "kept too"]).ok();
        broker.stop();
        damage(&place.path().join("data/state.redb"));

        let told = run(support::serve(place.path(), &[]), None).told(1);
        let last = told.lines().last().unwrap();
        assert!(last.contains("state.redb cannot be opened") && last.contains("tilde log repair"), "{what}: {told}");
        let log =
            |args: &[&str]| run(support::tilde(place.path(), &[&["log"], args, &["--data", "data"]].concat()), None);
        assert!(log(&["verify"]).told(1).contains("damaged: the state"), "{what}");
        let repaired = log(&["repair", "--yes"]).text();
        assert!(repaired.contains("state.redb: to do: begin a new one"), "{what}: {repaired}");
        log(&["verify"]).ok();

        let broker = Tilde::start_in(place.path(), &[]);
        for (namespace, text) in [("team", "a  kept\n"), ("default", "a  kept too\n")] {
            let all = ["subscribe", "~", "--from", "earliest", "--end", "--namespace", namespace];
            assert_eq!(broker.run(&all).text(), text, "{what}");
        }
        // Its settings are lost: it keeps everything until somebody says otherwise.
        let settings = broker.run(&["namespace", "show", "team", "--format", "json"]).json().remove(0);
        assert_ne!(settings["max_age"], "1h", "{settings}");
        broker.stop();
    }
}

#[test]
fn a_state_that_cannot_be_reached_is_not_given_up() {
    let place = tempfile::tempdir().unwrap();
    Tilde::start_in(place.path(), &[]).stop();
    let (state, elsewhere) = (place.path().join("data/state.redb"), place.path().join("elsewhere"));
    fs::rename(&state, &elsewhere).unwrap();
    fs::create_dir(&state).unwrap();
    for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["log", "verify"], &["log", "repair", "--yes"]] {
        let told = run(support::tilde(place.path(), &[args, &["--data", "data"]].concat()), None).told(1);
        assert!(told.contains("state.redb cannot be opened") && told.contains("look at the disk"), "{args:?}: {told}");
    }
    fs::remove_dir(&state).unwrap();
    fs::rename(&elsewhere, &state).unwrap();
    Tilde::start_in(place.path(), &[]).stop();
}

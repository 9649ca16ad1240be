//! `tilde log`: damage is found, named and given up, and nothing else is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Answer, Tilde, run, tilde};

/// A data directory with several segments that was closed in order. Tests work on copies.
static FILLED: LazyLock<TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let lines: Vec<String> = (1..=2_000).map(|n| format!("{n} {}\n", "x".repeat(1_000))).collect();
    // As much as is waiting makes a block, and a segment ends between blocks: with all at once there could be too few.
    for some in lines.chunks(100) {
        broker.run_with(&["publish", "t/a", "--lines"], some.concat().as_bytes()).ok();
    }
    broker.run(&["publish", "t/b", "the last", "--id", "once"]).ok();
    broker.stop();
    place
});
const LAST: u64 = 2_001;

/// A copy of a directory with data in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place::copy(FILLED.path())
    }

    /// Copies what lies in `from/data`.
    fn copy(from: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        for (path, bytes) in files(from) {
            let to = place.path().join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        Place(place)
    }

    #[track_caller]
    fn log(&self, args: &[&str]) -> Answer {
        run(tilde(self.0.path(), &[&["log"], args, &["--data", "data"]].concat()), None)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Vec<Value> {
        self.log(&[args, &["--format", "json"]].concat()).json()
    }

    fn serve(&self) -> Tilde {
        Tilde::start_in(self.0.path(), &[])
    }

    /// The segments' files, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let files = self.json(&["inspect"]);
        files.iter().map(|file| self.path(file["file"].as_str().unwrap())).collect()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join("data/logs/default").join(file)
    }

    /// The blocks with messages of the segment with this number.
    fn blocks(&self, segment: usize) -> Vec<BlockAt> {
        let file = self.segments().remove(segment);
        let file = file.file_name().unwrap().to_str().unwrap();
        let blocks = self.json(&["inspect", "--blocks"]);
        let number = |block: &Value, name: &str| block[name].as_u64().unwrap();
        let ours = blocks.iter().filter(|block| block["file"] == file && block["messages"] != 0);
        let found = ours.map(|block| BlockAt {
            path: self.path(file),
            offset: number(block, "offset") as usize,
            bytes: number(block, "bytes") as usize,
            first: number(block, "first_sequence"),
            last: number(block, "first_sequence") + number(block, "messages") - 1,
        });
        found.collect()
    }
}

/// One block, and where it lies.
struct BlockAt {
    path: PathBuf,
    offset: usize,
    bytes: usize,
    first: u64,
    last: u64,
}

/// All files below a directory, but those that a test's broker makes.
fn files(place: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![place.join("data")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => left.push(path),
                false => drop(found.insert(path.strip_prefix(place).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    change(path, |bytes| bytes[at] ^= 4);
}

fn sequences(broker: &Tilde) -> BTreeSet<u64> {
    let messages = broker.run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).json();
    messages.iter().map(|message| message["sequence"].as_u64().unwrap()).collect()
}

/// The sequences that `verify` says are lost; an open end reaches to the last.
fn told_lost(found: &[Value]) -> BTreeSet<u64> {
    let ranges = found.iter().filter_map(|finding| {
        let first = finding["first_lost"].as_u64()?;
        Some(first..=finding["last_lost"].as_u64().unwrap_or(LAST))
    });
    ranges.flatten().collect()
}

/// Everything that must hold of a damaged directory, of which just these sequences cannot be kept.
#[track_caller]
fn gives_up(place: &Place, file: &str, lost: impl IntoIterator<Item = u64>, served: bool) {
    let lost: BTreeSet<u64> = lost.into_iter().collect();
    let damaged = files(place.0.path());
    let verified = place.log(&["verify", "--format", "json"]);
    assert_eq!(verified.status.code(), Some(1), "{}", verified.stderr);
    assert!(verified.stderr.contains("tilde log repair"), "{}", verified.stderr);
    let text = String::from_utf8(verified.stdout).unwrap();
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told_lost(&found), lost, "{text}");
    assert!(found.iter().any(|finding| finding["kind"] == "damage" && finding["file"] == file), "{file}: {text}");
    assert_eq!(found.last().unwrap()["damaged"], true);

    let told = place.log(&["repair"]).told(2);
    assert!(told.contains("--yes"), "{told}");
    place.log(&["repair", "--dry-run"]).ok();
    assert_eq!(files(place.0.path()), damaged, "until now nobody has changed anything");
    if !served {
        let refused = run(tilde(place.0.path(), &["serve", "--data", "data", "--listen", "127.0.0.1:0"]), None).told(1);
        assert!(refused.contains("namespace default: "), "{refused}");
    }

    let repaired = place.log(&["repair", "--yes"]).text();
    assert!(repaired.contains("default: repaired, "), "{repaired}");
    let whole = place.log(&["verify"]).text();
    assert!(whole.contains("default: OK, "), "{whole}");
    let broker = place.serve();
    let kept = sequences(&broker);
    assert_eq!(kept, (1..=LAST).filter(|sequence| !lost.contains(sequence)).collect());
    let published = broker.run(&["publish", "t/c", "new", "--format", "json"]).json().remove(0);
    assert!(published["sequence"].as_u64().unwrap() > LAST, "{published}");
    broker.stop();
    place.log(&["verify"]).ok();
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn inspect_tells_what_lies_there_and_changes_nothing() {
    let place = Place::new();
    let before = files(place.0.path());
    let segments = place.json(&["inspect"]);
    assert!(segments.len() >= 4, "{segments:?}");
    assert_eq!(segments.iter().map(|segment| segment["messages"].as_u64().unwrap()).sum::<u64>(), LAST);
    let (last, sealed) = segments.split_last().unwrap();
    assert_eq!((&last["state"], &last["last_sequence"], &last["topics"]), (&"closed".into(), &LAST.into(), &2.into()));
    assert!(sealed.iter().all(|segment| segment["state"] == "sealed" && segment["index"] == "right"));
    let table = place.log(&["inspect"]).text();
    assert!(table.starts_with("namespace default: 2001 messages\nFILE "), "{table}");

    let mut next = 1;
    for segment in 0..segments.len() {
        for block in place.blocks(segment) {
            assert_eq!(block.first, next);
            next = block.last + 1;
        }
    }
    assert_eq!(next, LAST + 1);
    assert!(place.log(&["inspect", "--blocks"]).text().trim_end().ends_with("closing"));

    let (text, json) = (place.log(&["inspect", "--messages"]).text(), place.json(&["inspect", "--messages"]));
    assert!(place.log(&["verify"]).text().contains("default: OK, 2001 messages in "));
    assert_eq!(files(place.0.path()), before);
    let broker = place.serve();
    let all = ["subscribe", "~", "--from", "earliest", "--end", "--format"];
    assert!(broker.run(&[&all[..], &["text"]].concat()).text() == text, "as subscribe prints them");
    let mut subscribed = broker.run(&[&all[..], &["json"]].concat()).json();
    subscribed.iter_mut().for_each(|message| drop(message.as_object_mut().unwrap().remove("cursor")));
    assert!(subscribed == json, "as subscribe prints them");
}

#[test]
fn every_namespace_or_the_one_that_is_named() {
    let own = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(own.path(), &[]);
    broker.run(&["namespace", "create", "team-7"]).ok();
    broker.run(&["publish", "t", "x", "--namespace", "team-7"]).ok();
    broker.stop();
    let place = Place(own);
    assert_eq!(place.log(&["verify"]).text(), "default: OK, 0 messages in 1 file\nteam-7: OK, 1 message in 1 file\n");
    let named = ["inspect", "--messages", "--namespace", "team-7"];
    assert_eq!(place.log(&named).text(), "t  x\n");
    let told = place.log(&["verify", "--namespace", "team-8"]).told(1);
    assert!(told.contains("no log of a namespace \"team-8\""), "{told}");
}

#[test]
fn a_directory_in_use_or_not_there_is_refused() {
    let place = Place::new();
    let broker = place.serve();
    for action in [&["inspect"][..], &["verify"], &["repair", "--yes"]] {
        let told = place.log(action).told(1);
        assert!(told.contains("in use by another process"), "{told}");
    }
    broker.stop();
    let nowhere = tempfile::tempdir().unwrap();
    let told = run(tilde(nowhere.path(), &["log", "verify"]), None).told(1);
    assert!(told.contains("./tilde-data is no data directory of a broker: name one with --data"), "{told}");
    assert_eq!(fs::read_dir(nowhere.path()).unwrap().count(), 0);
}

#[test]
fn a_flipped_bit_costs_its_block() {
    let place = Place::new();
    let block = place.blocks(3).remove(0);
    flip(&block.path, block.offset + block.bytes / 2);
    gives_up(&place, name(&block.path), block.first..=block.last, false);
    assert!(place.log(&["verify"]).text().contains(".log.damaged: note: set aside by a repair"));
}

#[test]
fn a_zeroed_page_and_a_cut_file_cost_what_lay_there() {
    let place = Place::new();
    let cut = place.blocks(1).pop().unwrap();
    change(&cut.path, |bytes| bytes.truncate(cut.offset + cut.bytes / 2));
    let zeroed = place.blocks(3).remove(0);
    let page = (zeroed.offset + zeroed.bytes / 2) & !4095;
    change(&zeroed.path, |bytes| bytes[page..page + 4096].fill(0));
    gives_up(&place, name(&zeroed.path), (cut.first..=cut.last).chain(zeroed.first..=zeroed.last), false);
}

#[test]
fn a_missing_file_costs_what_it_held() {
    let place = Place::new();
    let segments = place.segments();
    let blocks = place.blocks(2);
    fs::remove_file(&segments[2]).unwrap();
    gives_up(&place, name(&segments[1]), blocks[0].first..=blocks.last().unwrap().last, false);
}

#[test]
fn a_damaged_header_costs_nothing_where_its_index_or_itself_tells_whose_the_blocks_are() {
    let place = Place::new();
    let segments = place.segments();
    // The identity of the one, something else of the others.
    flip(&segments[1], 26);
    flip(&segments[2], 50);
    flip(segments.last().unwrap(), 3);
    gives_up(&place, name(&segments[1]), [], false);
}

#[test]
fn a_damaged_header_costs_the_file_where_nothing_tells_whose_the_blocks_are() {
    for segment in [0, 1, 3] {
        let place = Place::new();
        let segments = place.segments();
        let blocks = place.blocks(segment);
        flip(&segments[segment], 26);
        fs::remove_file(segments[segment].with_extension("idx")).unwrap();
        gives_up(&place, name(&segments[segment]), blocks[0].first..=blocks.last().unwrap().last, false);
    }
}

#[test]
fn numbering_goes_on_above_a_last_file_that_is_lost() {
    let unreadable = Place::new();
    let last = unreadable.segments().pop().unwrap();
    let first = unreadable.blocks(unreadable.segments().len() - 1)[0].first;
    flip(&last, 26);
    let _ = fs::remove_file(last.with_extension("idx"));
    gives_up(&unreadable, name(&last), first..=LAST, false);

    let missing = Place::new();
    let segments = missing.segments();
    let [.., before, last] = &segments[..] else { panic!("there are several") };
    fs::remove_file(last).unwrap();
    let _ = fs::remove_file(last.with_extension("idx"));
    // A broker cannot know that there was another one.
    gives_up(&missing, name(before), first..=LAST, true);
}

#[test]
fn a_damaged_block_of_the_last_file_is_no_torn_tail() {
    let place = Place::new();
    let blocks = place.blocks(place.segments().len() - 1);
    flip(&blocks[0].path, blocks[0].offset + 60);
    gives_up(&place, name(&blocks[0].path), blocks[0].first..=blocks[0].last, false);

    let cut = Place::new();
    let last = cut.blocks(cut.segments().len() - 1).pop().unwrap();
    change(&last.path, |bytes| bytes.truncate(last.offset + 60));
    // Opening takes it for a torn tail, though a crash never makes a file shorter.
    gives_up(&cut, name(&last.path), last.first..=LAST, true);
}

#[test]
fn an_index_is_built_anew() {
    let place = Place::new();
    let segments = place.segments();
    fs::remove_file(segments[1].with_extension("idx")).unwrap();
    assert!(place.log(&["verify"]).text().contains("default: OK, "), "a crash may have come before it was stored");
    let index = segments[2].with_extension("idx");
    flip(&index, 40);
    gives_up(&place, name(&index), [], true);
}

#[test]
fn bytes_behind_the_end_cost_nothing() {
    let place = Place::new();
    let sealed = place.segments().remove(1);
    change(&sealed, |bytes| bytes.extend_from_slice(b"not a block"));
    gives_up(&place, name(&sealed), [], false);
}

#[test]
fn a_torn_tail_is_no_damage() {
    let place = Place::new();
    let last = place.segments().pop().unwrap();
    let used = place.json(&["inspect"]).pop().unwrap()["bytes_used"].as_u64().unwrap() as usize;
    change(&last, |bytes| bytes[used + 100..used + 200].fill(7));
    let torn = place.log(&["verify"]).text();
    assert!(torn.contains(": torn: ") && torn.contains("default: OK, 2001 messages"), "{torn}");
    let before = files(place.0.path());
    place.log(&["repair"]).ok();
    assert_eq!(files(place.0.path()), before, "opening cuts it off");
    let broker = place.serve();
    assert_eq!(sequences(&broker).len() as u64, LAST);
    broker.run(&["publish", "t/c", "new"]).ok();
    broker.kill();
    let killed = place.log(&["verify"]).text();
    assert!(killed.contains("default: OK, 2002 messages"), "{killed}");
    assert_eq!(place.json(&["inspect"]).pop().unwrap()["state"], "open");
}

#[test]
fn a_cursor_into_what_was_given_up_is_told_of_the_gap() {
    use tilde::model::{Cursor, Sequence};

    let place = Place::new();
    let block = place.blocks(3).remove(0);
    let broker = place.serve();
    let message = broker.run(&["subscribe", "t/b", "--from", "earliest", "--end", "--format", "json"]).json().remove(0);
    let cursor = Cursor::parse(message["cursor"].as_str().unwrap()).unwrap();
    broker.stop();
    flip(&block.path, block.offset + 60);
    place.log(&["repair", "--yes"]).ok();

    let broker = place.serve();
    let read = |after| {
        let cursor = Cursor { after: Sequence(after), ..cursor }.encode();
        let answer = broker.run(&["subscribe", "~", "--from", &cursor, "--count", "1", "--format", "json"]);
        let gap = answer.stderr.clone();
        (answer.json().remove(0)["sequence"].as_u64().unwrap(), gap)
    };
    for seen in [block.first, block.last] {
        let (next, gap) = read(seen);
        assert_eq!(next, block.last + 1);
        assert!(gap.contains("another log, or to a part that"), "{gap}");
    }
    assert_eq!(read(block.first - 1), (block.last + 1, String::new()));
    assert_eq!(read(block.last + 1), (block.last + 2, String::new()));
}

//! Nothing that was answered is lost: the log over a disk that forgets, cut after every operation.

mod disk;
mod numbers;
mod repair;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use self::disk::SimDisk;
use tilde::{
    clock::{Clock, ManualClock},
    engine::{
        Batch, Block, BoxFuture, Follower, Log, LogSettings, Outcome, Query, Receipt, State, Value,
        dedup::IdHasher,
        log::{
            Config,
            cache::Cache,
            io::LogIo,
            segments::Segments,
            stored::{Driver, Shared, StoredLog},
        },
        tail::TailBudget,
    },
    model::{
        Durability, Error, Message, NamespaceName, PatternSet, Payload, Reason, Records, Result, Sequence, Timestamp,
        Topic,
    },
};

const DIR: &str = "/log";

/// A log on a simulated disk, driven by the test.
struct Rig {
    log: Arc<StoredLog>,
    clock: Arc<ManualClock>,
    seen: Arc<Seen>,
}

/// What was shown to whoever follows.
#[derive(Default)]
struct Seen(Mutex<Vec<(u64, String)>>);

impl Follower for Seen {
    fn committed(&self, block: &Arc<Block>) {
        let records = block.records().map(|record| (record.sequence().0, text(record.payload())));
        self.0.lock().unwrap().extend(records);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Nobody: the test drives by hand.
struct ByHand;

impl Driver for ByHand {
    fn drive(&self, _: Arc<StoredLog>) {}
    fn tend(&self, _: Arc<StoredLog>) {}
    fn failed(&self, _: Error) {}
}

/// No small values are needed here.
struct NoState;

impl State for NoState {
    fn get(&self, _: &str) -> Result<Option<Value>> {
        Ok(None)
    }
    fn list(&self, _: &str) -> Result<Vec<(String, Value)>> {
        Ok(Vec::new())
    }
    fn put<'a>(&'a self, _: &'a str, _: Vec<u8>, _: u64) -> BoxFuture<'a, Result<Option<u64>>> {
        Box::pin(async { Ok(Some(1)) })
    }
    fn delete<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(true) })
    }
}

fn settings() -> LogSettings {
    LogSettings {
        max_age: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        deduplication_window: Duration::from_secs(120),
    }
}

impl Rig {
    fn open(disk: &SimDisk, seed: u64) -> Result<Rig> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1_800_000_000_000_000_000), seed));
        let config = Config { segment_min: 12 << 10, segment_max: 48 << 10, block_bytes: 4 << 10, ..Config::default() };
        let shared = Arc::new(Shared {
            tails: TailBudget::new(16 << 10),
            config,
            clock: clock.clone(),
            hasher: IdHasher::default(),
            driver: Arc::new(ByHand),
            state: Arc::new(NoState),
        });
        let caches = (Arc::new(Cache::new(1 << 20)), Arc::new(Cache::new(1 << 20)));
        let segments = Segments::new(Arc::new(disk.clone()), DIR.into(), NamespaceName::default(), caches.0, caches.1);
        let log = StoredLog::open(segments, settings(), shared)?;
        let seen = Arc::<Seen>::default();
        log.tail().follow(seen.clone());
        Ok(Rig { log, clock, seen })
    }

    fn drive(&self) {
        while self.log.drive() {}
    }

    fn rest(&self) {
        self.clock.advance(Duration::from_secs(60));
        self.log.tend();
    }

    /// Everything that can be read, from the very beginning.
    fn read_all(&self) -> Vec<(u64, String)> {
        let patterns = Arc::new(PatternSet::all());
        let mut found = Vec::new();
        let mut from = Sequence::FIRST;
        loop {
            let query = Query {
                from,
                through: Sequence::MAX,
                patterns: &patterns,
                guide: None,
                filter: None,
                max_messages: 7,
                max_bytes: 3000,
                now: self.clock.now(),
            };
            let page = self.log.read_now(&query).unwrap();
            for run in &page.runs {
                found.extend(Records::new(run).map(|r| r.unwrap()).map(|r| (r.sequence().0, text(r.payload()))));
            }
            if page.end {
                return found;
            }
            assert!(page.next > from, "a page that is not the last moves on");
            from = page.next;
        }
    }
}

/// The answer, if it is there.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// What was handed in together.
struct Handed {
    texts: Vec<String>,
    durability: Durability,
    atomic: bool,
    receipt: Option<Receipt>,
    outcomes: Option<Result<Vec<Outcome>>>,
}

/// Random but repeatable.
struct Chance(ManualClock);

impl Chance {
    fn new(seed: u64) -> Self {
        Chance(ManualClock::new(Timestamp::EPOCH, seed))
    }

    fn below(&self, most: u64) -> u64 {
        self.0.random() % most
    }
}

/// Publishes for a while: batches of all kinds, some together, with rests and care in between.
fn work(rig: &Rig, chance: &Chance, rounds: usize, label: &str) -> Vec<Handed> {
    let mut handed: Vec<Handed> = Vec::new();
    for round in 0..rounds {
        for part in 0..=chance.below(3) {
            let durability = [Durability::Memory, Durability::Written, Durability::Synced, Durability::Synced]
                [chance.below(4) as usize];
            let atomic = chance.below(3) == 0;
            let mut batch = Batch::new(durability).atomic(atomic);
            let mut texts = Vec::new();
            for number in 0..=chance.below(5) {
                let size = [0, 10, 200, 3000][chance.below(4) as usize];
                let text = format!("{label}/{round}/{part}/{number}/{}", "x".repeat(size));
                let topic = Topic::parse(format!("t{}", chance.below(4))).unwrap();
                let mut message = Message::new(topic, Payload::Text(text.clone().into()));
                if chance.below(4) == 0 {
                    message.message_id = (text[..12.min(text.len())].to_owned() + &number.to_string()).into();
                }
                batch.push(&message, 1 << 20, None).unwrap();
                texts.push(text);
            }
            let receipt = Some(rig.log.append(batch));
            handed.push(Handed { texts, durability, atomic, receipt, outcomes: None });
        }
        rig.drive();
        match chance.below(8) {
            0 => rig.rest(),
            1 | 2 => rig.log.tend(),
            _ => {}
        }
        for one in handed.iter_mut().filter(|one| one.outcomes.is_none()) {
            one.outcomes = one.receipt.as_mut().and_then(now).map(|answer| answer.map(|all| all.iter().collect()));
        }
    }
    handed
}

/// What must hold after a crash. Returns what is there.
fn check(rig: &Rig, handed: &[Handed], seen: &[(u64, String)], context: &str) -> BTreeMap<String, u64> {
    let found = rig.read_all();
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "{context}: sequences rise");
    let there: BTreeMap<String, u64> = found.iter().map(|(sequence, text)| (text.clone(), *sequence)).collect();
    assert_eq!(there.len(), found.len(), "{context}: nothing is there twice");
    let known: BTreeSet<&String> = handed.iter().flat_map(|one| &one.texts).collect();
    assert!(there.keys().all(|text| known.contains(text)), "{context}: nothing is there that nobody published");
    let order: Vec<u64> =
        handed.iter().flat_map(|one| &one.texts).filter_map(|text| there.get(text)).copied().collect();
    assert!(order.is_sorted(), "{context}: the order of publishing is kept");
    for one in handed {
        if one.atomic {
            let count = one.texts.iter().filter(|text| there.contains_key(*text)).count();
            assert!(count == 0 || count == one.texts.len(), "{context}: an atomic batch is there in part");
        }
        let Some(Ok(outcomes)) = &one.outcomes else { continue };
        for (text, outcome) in one.texts.iter().zip(outcomes) {
            let appended = outcome.as_ref().unwrap();
            assert!(appended.durability >= one.durability.min(Durability::Written));
            if appended.durability == Durability::Synced {
                assert_eq!(there.get(text), Some(&appended.sequence.0), "{context}: answered as synced, and gone");
            }
        }
    }
    let synced: BTreeSet<&String> =
        handed.iter().filter(|one| one.durability == Durability::Synced).flat_map(|one| &one.texts).collect();
    for (sequence, text) in seen {
        let lost = synced.contains(text) && there.get(text) != Some(sequence);
        assert!(!lost, "{context}: a reader saw what was lost: {sequence}");
    }
    there
}

/// The highest sequence that anybody was told.
fn told(handed: &[Handed], seen: &[(u64, String)]) -> u64 {
    let answered = handed.iter().filter_map(|one| one.outcomes.as_ref()?.as_ref().ok()).flatten().flatten();
    let answered = answered.map(|appended| appended.sequence.0);
    answered.chain(seen.iter().map(|(sequence, _)| *sequence)).max().unwrap_or(0)
}

/// One history: work, a cut, opening again, work, another crash, opening again.
fn history(seed: u64, rounds: usize, cut: Option<u64>) -> u64 {
    let context = format!("seed {seed}, cut {cut:?}");
    let disk = SimDisk::default();
    if let Some(cut) = cut {
        disk.cut_at(cut);
    }
    let chance = Chance::new(seed);
    let (mut handed, mut seen) = (Vec::new(), Vec::new());
    if let Ok(rig) = Rig::open(&disk, seed) {
        handed = work(&rig, &chance, rounds, "a");
        seen = rig.seen.0.lock().unwrap().clone();
        if cut.is_none() {
            let all: Vec<_> = handed.iter().flat_map(|one| &one.texts).cloned().collect();
            let read: Vec<_> = rig.read_all().into_iter().map(|(_, text)| text).collect();
            assert_eq!(read, all, "{context}: without a cut everything is there");
            return disk.operations();
        }
    }
    let crashes = Chance::new(seed ^ cut.unwrap_or(0).wrapping_mul(0x9e37_79b9));
    // Either the power was out, or only the process died: then what it wrote is there, but not yet durable.
    let second = match crashes.below(2) {
        0 => disk.after_kill(),
        _ => disk.after_crash(|| crashes.below(u64::MAX)),
    };
    let rig = Rig::open(&second, seed + 1).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let there = check(&rig, &handed, &seen, &context);
    let highest = told(&handed, &seen);

    let more = work(&rig, &crashes, 4, "b");
    let fresh = more.iter().filter_map(|one| one.outcomes.as_ref()?.as_ref().ok()).flatten().flatten();
    for appended in fresh {
        assert!(appended.sequence.0 > highest, "{context}: sequence {} was used again", appended.sequence);
    }
    let seen: Vec<_> = rig.seen.0.lock().unwrap().clone();
    drop(rig);
    let third = second.after_crash(|| crashes.below(u64::MAX));
    let rig = Rig::open(&third, seed + 2).unwrap_or_else(|error| panic!("{context}, again: {error:?}"));
    // What was gone must stay gone; what was there must stay.
    let gone = handed.iter().flat_map(|one| &one.texts).filter(|text| !there.contains_key(*text));
    let gone: BTreeSet<String> = gone.cloned().collect();
    let all: Vec<Handed> = handed.into_iter().chain(more).collect();
    let kept = rig.read_all();
    assert!(kept.iter().all(|(_, text)| !gone.contains(text)), "{context}: bytes behind a cut came back");
    let kept: BTreeSet<_> = kept.into_iter().map(|(_, text)| text).collect();
    assert!(there.keys().all(|text| kept.contains(text)), "{context}: what was shown after the crash is gone");
    check(&rig, &all, &seen, &format!("{context}, again"));
    0
}

/// How much is run: `tests/run --campaign` sets it.
fn campaign() -> bool {
    std::env::var_os("TILDE_CAMPAIGN").is_some()
}

#[test]
fn nothing_answered_is_lost_wherever_the_power_is_cut() {
    let (seeds, rounds) = if campaign() { (40, 60) } else { (4, 25) };
    for seed in 0..seeds {
        let operations = history(seed, rounds, None);
        for cut in 1..=operations {
            history(seed, rounds, Some(cut));
        }
    }
}

#[test]
fn a_failed_sync_ends_the_log_and_is_never_tried_again() {
    let mut ended = 0;
    for broken in 12..60 {
        let disk = SimDisk::default();
        disk.break_syncs_from(broken);
        let Ok(rig) = Rig::open(&disk, 1) else { continue };
        let handed = work(&rig, &Chance::new(broken), 20, "a");
        let failed = handed.iter().position(|one| matches!(one.outcomes, Some(Err(_))));
        // Otherwise it hit what can be made anew: a segment zeroed ahead, an index.
        let Some(first) = failed else { continue };
        ended += 1;
        for one in &handed[first..] {
            match &one.outcomes {
                Some(Err(error)) => assert_eq!(error.reason(), Reason::StorageFailed),
                // Answered before the sync that failed, as they asked for no more.
                Some(Ok(outcomes)) => {
                    assert!(outcomes.iter().flatten().all(|appended| appended.durability < Durability::Synced));
                }
                None => panic!("somebody was never answered"),
            }
        }
        let seen = rig.seen.0.lock().unwrap().clone();
        let crashes = Chance::new(broken);
        let rig = Rig::open(&disk.after_crash(|| crashes.below(u64::MAX)), 2).unwrap();
        check(&rig, &handed, &seen, &format!("sync {broken} broken"));
    }
    assert!(ended > 10);
}

#[test]
fn a_full_disk_is_a_refusal_and_the_log_goes_on_when_there_is_room() {
    let disk = SimDisk::default();
    let rig = Rig::open(&disk, 3).unwrap();
    disk.limit(Some(100 << 10));
    let mut handed = work(&rig, &Chance::new(3), 60, "a");
    let refused =
        handed.iter().filter(|one| matches!(&one.outcomes, Some(Err(e)) if e.reason() == Reason::StorageFull));
    assert!(refused.count() > 10);
    disk.limit(None);
    let more = work(&rig, &Chance::new(4), 10, "b");
    assert!(more.iter().all(|one| matches!(one.outcomes, Some(Ok(_)))));
    handed.retain(|one| matches!(one.outcomes, Some(Ok(_))));
    handed.extend(more);
    let seen = rig.seen.0.lock().unwrap().clone();
    let crashes = Chance::new(9);
    let rig = Rig::open(&disk.after_crash(|| crashes.below(u64::MAX)), 5).unwrap();
    check(&rig, &handed, &seen, "full disk");
}

#[test]
fn what_a_full_disk_took_in_part_never_passes_for_damage() {
    for seed in 0..40 {
        let disk = SimDisk::default();
        let rig = Rig::open(&disk, seed).unwrap();
        let chance = Chance::new(seed);
        let mut handed = work(&rig, &chance, 1 + seed as usize % 7, "a");
        disk.fill(true);
        let refused = work(&rig, &chance, 1, "lost");
        assert!(refused.iter().any(|one| matches!(&one.outcomes, Some(Err(e)) if e.reason() == Reason::StorageFull)));
        disk.fill(false);
        // It rests behind what was written in part, and what comes next may need another segment.
        rig.rest();
        handed.extend(refused);
        handed.extend(work(&rig, &chance, 6, "b"));
        let seen = rig.seen.0.lock().unwrap().clone();
        let crashes = Chance::new(seed);
        let after = if seed % 2 == 0 { disk.after_kill() } else { disk.after_crash(|| crashes.below(u64::MAX)) };
        let rig = Rig::open(&after, seed + 1).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        check(&rig, &handed, &seen, &format!("seed {seed}"));
    }
}

#[test]
fn too_many_open_files_are_a_refusal_and_the_log_goes_on() {
    let disk = SimDisk::default();
    let rig = Rig::open(&disk, 1).unwrap();
    let mut handed = work(&rig, &Chance::new(1), 5, "a");
    rig.rest();
    disk.crowd(true);
    let refused = work(&rig, &Chance::new(2), 2, "lost");
    for one in &refused {
        assert!(matches!(&one.outcomes, Some(Err(error)) if error.reason() == Reason::EngineUnreachable));
    }
    disk.crowd(false);
    handed.extend(work(&rig, &Chance::new(3), 5, "b"));
    assert!(handed.iter().all(|one| matches!(one.outcomes, Some(Ok(_)))));
    check(&rig, &handed, &[], "crowded");
}

/// A log that was closed in order, with several segments; their files.
fn closed(seed: u64) -> (SimDisk, Vec<PathBuf>) {
    let disk = SimDisk::default();
    let rig = Rig::open(&disk, seed).unwrap();
    work(&rig, &Chance::new(seed), 40, "a");
    rig.log.close().unwrap();
    let files = disk.files().into_iter().map(|(path, _)| path);
    let segments: Vec<_> = files.filter(|path| path.extension().unwrap() == "log").collect();
    assert!(segments.len() > 3);
    (disk, segments)
}

#[test]
fn a_missing_file_is_found_and_named() {
    let (_, segments) = closed(11);
    // Without the oldest the log looks as after retention.
    for missing in 1..segments.len() {
        let (disk, segments) = closed(11);
        disk.remove(&segments[missing]).unwrap();
        let Err(error) = Rig::open(&disk, 12) else { panic!("{:?} is missing, and nobody says so", segments[missing]) };
        assert_eq!(error.reason(), Reason::StorageCorrupt);
        let before = segments[missing - 1].file_name().unwrap().to_string_lossy();
        assert!(error.message().contains(&*before) && error.message().contains("tilde log repair"), "{error}");
    }
}

#[test]
fn the_end_of_a_file_that_is_gone_is_found_and_named() {
    let (disk, segments) = closed(13);
    let last = segments.last().unwrap();
    let length = disk.files().into_iter().find(|(path, _)| path == last).unwrap().1;
    let all = Rig::open(&disk, 14).unwrap().read_all();
    let mut found = 0;
    for cut in (4097..length).step_by(if campaign() { 1 } else { 7 }) {
        let (disk, segments) = closed(13);
        disk.truncate(segments.last().unwrap(), cut);
        // Only the closing block can be missed: nothing that was published goes with it.
        match Rig::open(&disk, 14) {
            Ok(rig) => assert!(rig.read_all() == all, "cut at {cut}"),
            Err(error) => {
                assert_eq!(error.reason(), Reason::StorageCorrupt);
                found += 1;
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn publish_times_never_fall_though_retention_took_the_last_message_and_the_clock_goes_back() {
    let disk = SimDisk::default();
    let rig = Rig::open(&disk, 1).unwrap();
    rig.clock.advance(Duration::from_secs(1000));
    let before = work(&rig, &Chance::new(1), 3, "a");
    rig.clock.advance(2 * settings().max_age);
    rig.log.tend();
    assert_eq!(rig.read_all(), []);
    rig.log.close().unwrap();
    let rig = Rig::open(&disk, 2).unwrap();
    let after = work(&rig, &Chance::new(2), 1, "b");
    let times = |handed: &[Handed]| {
        let outcomes = handed.iter().flat_map(|one| one.outcomes.as_ref().unwrap().as_ref().unwrap());
        outcomes.map(|outcome| outcome.as_ref().unwrap().publish_time).collect::<Vec<_>>()
    };
    assert!(times(&after)[0] >= *times(&before).last().unwrap());
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_found_and_named() {
    let (disk, segments) = closed(7);
    let length = |path: &Path| disk.files().into_iter().find(|(name, _)| name == path).unwrap().1;
    let segments: Vec<_> = segments.iter().map(|path| (path.clone(), length(path))).collect();
    let chance = Chance::new(8);
    for round in 0..400 {
        let (path, length) = &segments[round % segments.len()];
        // Behind the header; what the last segment holds ends somewhere within.
        let bit = (4096 + chance.below(*length as u64 - 4096) as usize) * 8 + chance.below(8) as usize;
        disk.flip(path, bit);
        let opened = Rig::open(&disk, 9);
        let last = round % segments.len() == segments.len() - 1;
        match opened {
            Err(error) => {
                assert_eq!(error.reason(), Reason::StorageCorrupt);
                let name = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
                assert!(error.message().contains(&name) && error.message().contains("offset"), "{error}");
            }
            Ok(_) => assert!(last, "a flipped bit in sealed segment {path:?} went unnoticed"),
        }
        if last {
            // It may have been cut as a torn tail: begin with a fresh copy of the whole disk.
            return;
        }
        disk.flip(path, bit);
    }
}

#[test]
fn a_clean_stop_goes_on_with_the_next_sequence() {
    let disk = SimDisk::default();
    let rig = Rig::open(&disk, 1).unwrap();
    let handed = work(&rig, &Chance::new(1), 10, "a");
    rig.log.close().unwrap();
    let last = told(&handed, &[]);
    let rig = Rig::open(&disk, 2).unwrap();
    let more = work(&rig, &Chance::new(2), 1, "b");
    let first = more[0].outcomes.as_ref().unwrap().as_ref().unwrap()[0].as_ref().unwrap();
    assert_eq!(first.sequence.0, last + 1);
    assert_eq!(rig.log.bounds().cuts, []);
}

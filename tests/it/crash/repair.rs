//! A repair keeps whatever was not damaged, wherever the power is cut, and numbering never goes back.

use tilde::engine::log::{examine::Examination, finding::Lost, repair::Plan};

use super::*;

/// A log that was closed in order, with what it holds.
fn filled(seed: u64) -> (SimDisk, Vec<(u64, String)>) {
    let disk = SimDisk::default();
    let rig = Rig::open(&disk, seed).unwrap();
    work(&rig, &Chance::new(seed), 40, "a");
    rig.log.close().unwrap();
    let all = rig.read_all();
    (disk, all)
}

/// Another disk with the same files.
fn copy(disk: &SimDisk) -> SimDisk {
    disk.after_crash(|| 0)
}

fn examine(disk: &SimDisk) -> Examination {
    Examination::new(disk, Path::new(DIR), &NamespaceName::default()).unwrap()
}

/// Repairs for the `time`th time. Chance is another each time, and another than the log's: no two files may have the
/// same identity.
fn repair(disk: &SimDisk, time: u64) -> Result<()> {
    let examination = examine(disk);
    Plan::new(&examination, &ManualClock::new(Timestamp::EPOCH, u64::MAX - time)).run(disk, Path::new(DIR))
}

/// Flips some bits anywhere, and sometimes a file in the middle is gone.
fn damage(disk: &SimDisk, chance: &Chance) {
    for _ in 0..=chance.below(3) {
        let files: Vec<_> = disk.files().into_iter().filter(|(_, length)| *length > 0).collect();
        let (path, length) = &files[chance.below(files.len() as u64) as usize];
        // Headers are small: they get their share.
        let most = if chance.below(3) == 0 { 56.min(*length) } else { *length };
        disk.flip(path, chance.below(most as u64 * 8) as usize);
    }
    if chance.below(4) == 0 {
        let segments: Vec<_> = disk.files().into_iter().filter(|(path, _)| is_segment(path)).collect();
        let middle = 1 + chance.below(segments.len() as u64 - 2) as usize;
        disk.remove(&segments[middle].0).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Opens the log, reads it, and goes on publishing above `highest`.
fn reopen(disk: &SimDisk, highest: u64, context: &str) -> Vec<(u64, String)> {
    let rig = Rig::open(disk, 99).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let kept = rig.read_all();
    let fresh = work(&rig, &Chance::new(5), 1, "b");
    let fresh = fresh.iter().filter_map(|one| one.outcomes.as_ref()?.as_ref().ok()).flatten().flatten();
    for appended in fresh {
        assert!(appended.sequence.0 > highest, "{context}: {} was used again", appended.sequence);
    }
    kept
}

fn is_in(lost: &[Lost], sequence: u64) -> bool {
    let within = |lost: &Lost| lost.first.0 <= sequence && lost.last.is_none_or(|last| sequence <= last.0);
    lost.iter().any(within)
}

#[test]
fn what_is_not_damaged_is_kept_wherever_the_power_is_cut() {
    let (mut damaged, mut cuts) = (0, 0);
    for seed in 0..if campaign() { 2000 } else { 60 } {
        let (disk, all) = filled(seed);
        let highest = all.last().unwrap().0;
        damage(&disk, &Chance::new(seed ^ 0xbad));
        let context = format!("seed {seed}");
        let before = examine(&disk);
        let lost: Vec<_> = before.findings.iter().filter_map(|finding| finding.lost).collect();
        if !before.is_damaged() {
            assert!(reopen(&copy(&disk), highest, &context) == all, "{context}: nothing was found");
            continue;
        }
        damaged += 1;
        let whole = copy(&disk);
        repair(&whole, 1).unwrap();
        let after = examine(&whole);
        assert!(!after.is_damaged(), "{context}: {:?}", after.findings);
        let operations = whole.operations();
        let kept = reopen(&whole, highest, &context);
        let numbers = |messages: &[(u64, String)]| messages.iter().map(|message| message.0).collect::<Vec<_>>();
        let expected: Vec<_> = all.iter().filter(|(sequence, _)| !is_in(&lost, *sequence)).cloned().collect();
        assert_eq!(numbers(&kept), numbers(&expected), "{context}: {:?}", before.findings);
        assert!(kept == expected, "{context}: messages were changed");

        for cut in 1..=operations {
            let context = format!("seed {seed}, cut {cut}");
            cuts += 1;
            let interrupted = copy(&disk);
            interrupted.cut_at(cut);
            assert!(repair(&interrupted, 2).is_err(), "{context}");
            let crashes = Chance::new(seed ^ cut);
            let again = interrupted.after_crash(|| crashes.below(u64::MAX));
            repair(&again, 3).unwrap();
            assert!(reopen(&again, highest, &context) == kept, "{context}");
        }
    }
    assert!(damaged > 40 && cuts > 200, "{damaged} {cuts}");
}

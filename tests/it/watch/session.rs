//! A real editing session: what was published, applied in order to a copy of the tree taken at the start, makes the tree at
//! the end, byte for byte; whoever is killed in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::world::{Message, World};
use crate::support::{
    dice::{Dice, rounds},
    running::Running,
    tool::tool,
};

const WATCH: &[&str] = &["--events", "all", "--state", "state", "--exclude", ".git/~"];
/// Nothing that a test waits for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Applies a diff as `patch` does, which must find everything exactly where it is said to be.
#[track_caller]
pub fn patch(directory: &Path, diff: &[u8]) {
    let mut command = Command::new(tool("patch"));
    command.args(["-p1", "--fuzz=0", "--force", "--no-backup-if-mismatch", "--directory"]).arg(directory);
    let mut patch = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    patch.stdin.take().unwrap().write_all(diff).unwrap();
    let output = patch.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("offset"), "{said}\n{}", diff.escape_ascii());
}

/// Someone edits, and someone else kills.
struct Session {
    world: World,
    watcher: Option<Running>,
    dice: Dice,
}

impl Session {
    fn shell(&self, script: &str) {
        self.world.shell(script);
    }

    /// Kills the watcher, the broker, or both, and starts them again.
    fn kill(&mut self) {
        let whom = self.dice.roll(3);
        if whom != 0 {
            self.watcher.take().unwrap().kill();
        }
        if whom != 1 {
            self.world.kill_broker();
            self.world.start_broker();
        }
        if whom != 0 {
            self.watcher = Some(self.world.watch(WATCH));
        }
    }

    /// A thousand quick appends, with murders on the way.
    fn append(&mut self) {
        let script = "for n in $(seq 1000); do echo line $n >> appended; done";
        let mut shell = Command::new("sh").args(["-ec", script]).current_dir(self.world.tree()).spawn().unwrap();
        let appended = self.world.tree().join("appended");
        let begun = Instant::now();
        for bytes in [2_000, 5_000, 8_000] {
            while fs::metadata(&appended).unwrap().len() < bytes {
                assert!(begun.elapsed() < HANGS, "nothing is appended");
            }
            self.kill();
        }
        assert!(shell.wait().unwrap().success());
    }
}

/// A repository with two commits of several hundred files, of which the first is checked out.
fn repository(world: &World) {
    let git = "git -c user.name=t -c user.email=t@localhost -c init.defaultBranch=main";
    for n in 0..400 {
        let text: String = (0..n % 50).map(|line| format!("file {n} line {line}\n")).collect();
        world.write(format!("repo/d{}/f{n}", n % 20), text);
    }
    world.shell(&format!("{git} init -q && {git} add repo && {git} commit -qm one"));
    for n in 0..400 {
        let (directory, file) = (n % 20, format!("repo/d{}/f{n}", n % 20));
        match n % 8 {
            0 | 1 => world.append(&file, "another line\n"),
            2 => world.shell(&format!("rm {file}")),
            3 => world.shell(&format!("git mv {file} repo/d{directory}/moved{n}")),
            4 => world.write(format!("repo/new{directory}/n{n}"), format!("new {n}")),
            _ => {}
        }
    }
    // A directory becomes a file, and a file a directory.
    world.shell(
        "rm -r repo/d19 && echo file > repo/d19 && rm -f repo/d18/f18 && mkdir repo/d18/f18 && echo x > repo/d18/f18/y",
    );
    world.shell(&format!("{git} add -A repo && {git} commit -qm two && {git} branch two && {git} checkout -q HEAD~1"));
}

/// Every file below a directory, but those of git's own.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(&place).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() == ".git" => {}
                true => open.push(entry.path()),
                false => {
                    let name = entry.path().strip_prefix(directory).unwrap().to_owned();
                    drop(files.insert(name, fs::read(entry.path()).unwrap()));
                }
            }
        }
    }
    files
}

/// Each change of a file begins where the one before ended, and none is there twice.
#[track_caller]
fn follow(messages: &[Message]) {
    let mut hashes: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for message in messages {
        assert!(ids.insert(&message.message_id), "{} comes twice", message.message_id);
        let (path, old) = (message.attribute("path"), message.attribute("old_hash"));
        let begun_at = if message.attribute("change") == "renamed" { message.attribute("old_path") } else { path };
        if let Some(hash) = hashes.remove(begun_at) {
            assert_eq!(hash, old, "a change of {begun_at} is missing before {}", message.message_id);
        }
        if !message.attribute("new_hash").is_empty() {
            hashes.insert(path, message.attribute("new_hash"));
        }
    }
}

#[test]
fn what_was_published_makes_the_tree_of_its_copy() {
    for _ in 0..rounds(1, 20) {
        let mut world =
            World::new(&[("appended", ""), ("edited", "one\ntwo\nthree\n"), ("vim", "vim\n"), ("cut", "no end")]);
        repository(&world);
        world.shell(
            "mkdir -p synced ../source && for n in $(seq 50); do echo $n > synced/$n; echo $n $n > ../source/$n; done",
        );
        let copy = world.beside("copy");
        assert!(Command::new("cp").arg("-a").args([world.tree(), copy.clone()]).status().unwrap().success());
        let watcher = Some(world.watch(WATCH));
        world.mark();
        let mut session = Session { world, watcher, dice: Dice::new() };
        session.shell("sed -i s/two/TWO/ edited && sed -i '$d' edited && printf more >> cut");
        session.shell("vim -es -u NONE -i NONE -c 'set backupcopy=no writebackup' -c 'normal Gofirst' -c wq vim");
        session.shell("vim -es -u NONE -i NONE -c 'set backupcopy=yes' -c 'normal Gosecond' -c wq vim");
        session.kill();
        session.shell("git checkout -q two");
        session.kill();
        session.append();
        session.shell("rsync -a --delete ../source/ synced/ && rm synced/7 && : > empty && mv vim vim2");
        session.world.mark();
        session.shell("git checkout -q main~1 && rm empty");
        session.kill();
        session.shell("git checkout -q two && mv synced moved && printf 'x\\r\\n' >> moved/8");
        let messages = session.world.published();
        follow(&messages);
        let words: BTreeSet<&str> = messages.iter().map(|message| message.attribute("change")).collect();
        assert_eq!(words, ["created", "deleted", "modified", "renamed"].into());
        let mark = copy.join("mark");
        messages.iter().for_each(|message| patch(&copy, &message.payload()));
        fs::copy(session.world.tree().join("mark"), mark).unwrap();
        let (made, expected) = (content(&copy), content(&session.world.tree()));
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&made), names(&expected));
        let other: Vec<_> =
            made.iter().filter(|(name, content)| expected[*name] != **content).map(|(name, _)| name).collect();
        assert!(other.is_empty(), "not the same: {other:?}");
    }
}

#[test]
fn changes_alone_make_the_same_of_the_files_that_were_there() {
    let mut world = World::new(&[("a", "a\n"), ("b", "b\n")]);
    let copy = world.beside("copy");
    assert!(Command::new("cp").arg("-a").args([world.tree(), copy.clone()]).status().unwrap().success());
    let _watcher = world.watch(&[]);
    for n in 0..rounds(20, 500) {
        world.shell(&format!("sed -i '1s/.*/{n}/' a && echo {n} >> b && mv b c && mv c b && rm a && echo {n} {n} > a"));
    }
    let messages = world.published();
    follow(&messages);
    messages.iter().for_each(|message| patch(&copy, &message.payload()));
    for name in ["a", "b"] {
        assert_eq!(fs::read(copy.join(name)).unwrap(), fs::read(world.tree().join(name)).unwrap());
    }
}

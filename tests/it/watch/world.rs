//! A broker, a directory to be watched, and whoever watches it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tempfile::TempDir;

use crate::support::{self, Tilde, ports::free_address, running::Running};

/// The file whose changes tell how far the watcher is.
const MARK: &str = "mark";

/// A broker, and files.
pub struct World {
    broker: Option<Tilde>,
    address: String,
    marks: usize,
    own: TempDir,
}

/// A message, as `--format json` prints it.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    pub topic: String,
    text: Option<String>,
    data: Option<String>,
    attributes: BTreeMap<String, String>,
    pub message_id: String,
}

impl World {
    /// With these files in the directory.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let own = tempfile::tempdir().unwrap();
        let mut world = World { broker: None, address: free_address(), marks: 0, own };
        fs::create_dir(world.tree()).unwrap();
        world.write(MARK, "");
        files.iter().for_each(|(name, content)| world.write(name, content));
        world.start_broker();
        world
    }

    /// The broker.
    pub fn broker(&self) -> &Tilde {
        self.broker.as_ref().expect("it runs but where a test takes it away")
    }

    /// Starts it where it was.
    pub fn start_broker(&mut self) {
        self.start_broker_as(|command| command);
    }

    /// The same by a command that was changed.
    pub fn start_broker_as(&mut self, change: impl FnOnce(Command) -> Command) {
        // The old one must be gone first.
        self.broker = None;
        self.broker = Some(Tilde::start_as(self.own.path(), &["--listen", &self.address], change));
    }

    /// Takes it away.
    pub fn kill_broker(&mut self) {
        self.broker.take().expect("it runs").kill();
    }

    /// Where the files are.
    pub fn tree(&self) -> PathBuf {
        self.own.path().join("tree")
    }

    /// A place beside them.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    /// A file's topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.tree().display())
    }

    /// Writes a file, and the directories that it lies in.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Appends to a file.
    pub fn append(&self, name: &str, content: &str) {
        let mut file = File::options().append(true).open(self.tree().join(name)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }

    /// A command that knows the broker, also if it is away.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = support::tilde(self.own.path(), args);
        command.env("TILDE_BROKER", &self.address);
        command
    }

    /// Watches the directory, and waits until it is known.
    #[track_caller]
    pub fn watch(&self, flags: &[&str]) -> Running {
        self.watch_as(flags, |command| command)
    }

    /// The same by a command that was changed.
    #[track_caller]
    pub fn watch_as(&self, flags: &[&str], change: impl FnOnce(Command) -> Command) -> Running {
        let (watcher, ready) = Running::start(change(self.command(&[&["watch", "tree"], flags].concat())));
        assert!(ready.starts_with("watching ") && ready.ends_with(" in tree"), "{ready}");
        watcher
    }

    /// Reviews, and waits until it is subscribed.
    #[track_caller]
    pub fn review(&self, flags: &[&str]) -> Running {
        let (reviewer, ready) = Running::start(self.command(&[&["review"], flags].concat()));
        assert!(ready.starts_with("reviewing "), "{ready}");
        reviewer
    }

    /// Runs a command in the directory.
    #[track_caller]
    pub fn shell(&self, script: &str) {
        let output = Command::new("sh").args(["-ec", script]).current_dir(self.tree()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// All that was published so far, in order: whatever is still on its way is waited for.
    #[track_caller]
    pub fn published(&mut self) -> Vec<Message> {
        // What is looked at together with a mark may be published behind it, and never behind the next.
        self.mark();
        self.mark();
        let mark = self.topic(MARK);
        let all = self.broker().run(&["subscribe", "~", "--from", "earliest", "--end", "--format", "json"]).text();
        let messages = all.lines().map(|line| serde_json::from_str::<Message>(line).unwrap());
        messages.filter(|message| message.topic != mark).collect()
    }

    /// Waits until what happened was looked at, and at least begun to be published.
    #[track_caller]
    pub fn mark(&mut self) {
        self.marks += 1;
        self.append(MARK, &format!("{}\n", self.marks));
        self.broker()
            .run(&["subscribe", &self.topic(MARK), "--from", "earliest", "--count", &self.marks.to_string()])
            .ok();
    }

    /// Waits for so many messages, of whatever topic.
    #[track_caller]
    pub fn wait_for(&self, topics: &str, count: usize) {
        self.broker().run(&["subscribe", topics, "--from", "earliest", "--count", &count.to_string()]).ok();
    }
}

impl Message {
    /// The payload.
    pub fn payload(&self) -> Vec<u8> {
        match (&self.text, &self.data) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(data)) => STANDARD.decode(data).unwrap(),
            (None, None) => Vec::new(),
        }
    }

    /// The payload, as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_else(|| panic!("{} is no text", self.topic))
    }

    /// An attribute; empty if it has none of that name.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.attribute("path").rsplit('/').next().unwrap_or_default()
    }
}

/// What became of which file, in order.
pub fn told(messages: &[Message]) -> Vec<(String, String)> {
    messages.iter().map(|message| (message.attribute("change").to_owned(), message.name().to_owned())).collect()
}

/// The names of these, in order.
pub fn names(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.name().to_owned()).collect()
}

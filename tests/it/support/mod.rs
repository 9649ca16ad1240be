//! Starts the real binary on a free port, and talks to it as a user does.

pub mod dice;
pub mod disk;
pub mod engine;
pub mod http;
pub mod nats;
pub mod network;
pub mod plain;
pub mod ports;
pub mod proxy;
pub mod receiver;
pub mod running;
pub mod tool;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing that a test waits for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A command of the binary that hears nothing of the tests' own environment, in a directory of its own.
pub fn tilde(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilde"));
    command.args(args).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TILDE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A command that serves the data in `directory/data`, on a free port unless `args` name one.
pub fn serve(directory: &Path, args: &[&str]) -> Command {
    let address = ports::free_address();
    let listen: &[&str] = if args.contains(&"--listen") { &[] } else { &["--listen", &address] };
    tilde(directory, &[&["serve", "--data", "data"], listen, args].concat())
}

/// A command that is run by another program, whose own words come first.
pub fn through(program: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program[0]);
    outer.args(&program[1..]).arg(command.get_program()).args(command.get_args());
    outer.current_dir(command.get_current_dir().expect("every command of the tests has a directory"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    outer
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Answer {
    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Vec<u8> {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        self.stdout
    }

    /// The same as text.
    #[track_caller]
    pub fn text(self) -> String {
        String::from_utf8(self.ok()).unwrap()
    }

    /// The same as one JSON object a line.
    #[track_caller]
    pub fn json(self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Standard error of a command that must have ended with this code.
    #[track_caller]
    pub fn told(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        self.stderr
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(mut command: Command, stdin: Option<&[u8]>) -> Answer {
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let (Some(bytes), Some(mut pipe)) = (stdin.map(<[u8]>::to_vec), child.stdin.take()) {
        // A command that fails early reads no further.
        thread::spawn(move || pipe.write_all(&bytes));
    }
    finish(child)
}

/// Waits for the end of a command.
#[track_caller]
pub fn finish(mut child: Child) -> Answer {
    let process = Pid::from_child(&child);
    let (send, ended) = mpsc::channel();
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.map(|mut stderr| stderr.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    thread::spawn(move || send.send(child.wait_with_output().unwrap()));
    match ended.recv_timeout(HANGS) {
        Ok(output) => Answer { status: output.status, stdout: output.stdout, stderr: reader.join().unwrap() },
        Err(_) => {
            let _ = kill_process(process, Signal::KILL);
            panic!("it hangs; it said: {}", reader.join().unwrap());
        }
    }
}

/// A running broker. Dropping it kills it.
pub struct Tilde {
    child: Option<Child>,
    /// Where it listens.
    pub url: String,
    /// The line with which it said so.
    pub ready: String,
    /// The other systems that it serves, and where.
    pub profiles: Vec<(String, String)>,
    directory: PathBuf,
    // Held for its Drop; none if the directory is someone else's.
    _own: Option<TempDir>,
    stdout: BufReader<ChildStdout>,
}

impl Tilde {
    /// Starts a broker whose messages are in memory.
    #[track_caller]
    pub fn in_memory() -> Self {
        Tilde::start(&["--engine", "memory"])
    }

    /// Starts a broker with a data directory of its own.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let own = tempfile::tempdir().unwrap();
        let mut tilde = Tilde::start_in(own.path(), args);
        tilde._own = Some(own);
        tilde
    }

    /// Starts a broker in a directory that goes with it.
    #[track_caller]
    pub fn start_at(own: TempDir) -> Self {
        let mut tilde = Tilde::start_in(own.path(), &[]);
        tilde._own = Some(own);
        tilde
    }

    /// Starts a broker with its data in `directory/data`, on a free port unless `args` name one.
    #[track_caller]
    pub fn start_in(directory: &Path, args: &[&str]) -> Self {
        Tilde::start_as(directory, args, |command| command)
    }

    /// The same by a command that was changed: with another environment, or through another program.
    #[track_caller]
    pub fn start_as(directory: &Path, args: &[&str], change: impl FnOnce(Command) -> Command) -> Self {
        let log = directory.join("stderr");
        let before = fs::metadata(&log).map_or(0, |log| log.len() as usize);
        let args = engine::chosen(directory, args);
        let mut command = change(serve(directory, &args.iter().map(String::as_str).collect::<Vec<_>>()));
        command.stderr(File::options().create(true).append(true).open(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut ready, mut profiles) = (String::new(), Vec::new());
        while stdout.read_line(&mut ready).unwrap() > 0 {
            let profile =
                ready.strip_prefix("profile ").and_then(|rest| rest.trim_end().split_once(" is listening on "));
            let Some((name, url)) = profile else { break };
            profiles.push((name.to_owned(), url.to_owned()));
            ready.clear();
        }
        let url = ready.strip_prefix("tilde is listening on ").and_then(|rest| rest.split_once(','));
        let Some((url, _)) = url else {
            let _ = (child.kill(), child.wait());
            panic!("it did not start: {}", fs::read_to_string(&log).unwrap());
        };
        engine::settle(directory, before);
        Tilde {
            url: url.to_owned(),
            ready,
            profiles,
            child: Some(child),
            directory: directory.to_owned(),
            _own: None,
            stdout,
        }
    }

    /// A client command, to be run or spawned.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = tilde(&self.directory, args);
        command.env("TILDE_BROKER", &self.url);
        command
    }

    /// Runs a client command to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Answer {
        run(self.command(args), None)
    }

    /// Runs a client command with something on its standard input.
    #[track_caller]
    pub fn run_with(&self, args: &[&str], stdin: &[u8]) -> Answer {
        run(self.command(args), Some(stdin))
    }

    /// Where it serves another system.
    #[track_caller]
    pub fn profile(&self, name: &str) -> String {
        let found = self.profiles.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("it serves no {name}")).1.clone()
    }

    /// Where it runs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs until it is stopped").id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs until it is stopped");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits for its end. Answers with what it logged.
    #[track_caller]
    pub fn wait(mut self) -> Answer {
        let mut answer = finish(self.child.take().expect("it runs until it is stopped"));
        self.stdout.read_to_end(&mut answer.stdout).unwrap();
        answer.stderr = self.logged();
        answer
    }

    /// Stops it in order, which must succeed.
    #[track_caller]
    pub fn stop(self) {
        self.signal(Signal::TERM);
        self.wait().ok();
    }

    /// Ends it as a power cut would, as far as a process can tell.
    #[track_caller]
    pub fn kill(self) {
        self.signal(Signal::KILL);
        assert!(!self.wait().status.success());
    }

    /// What it logged so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(self.directory.join("stderr")).unwrap_or_default()
    }
}

impl Drop for Tilde {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = (child.kill(), child.wait());
        }
        if self._own.is_some() {
            engine::forget(&self.directory);
        }
    }
}

//! A command that goes on until it is stopped, and what it says meanwhile.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Answer, finish};

/// Nothing that a test waits for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A command that runs. Dropping it kills it.
pub struct Running {
    child: Option<Child>,
    printed: Receiver<String>,
    told: Receiver<String>,
}

impl Running {
    /// Starts it, and waits for the first line that it prints.
    #[track_caller]
    pub fn start(command: Command) -> (Self, String) {
        let mut running = Running::spawn(command);
        let ready = running.line();
        (running, ready)
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let printed = lines(child.stdout.take().unwrap());
        let told = lines(child.stderr.take().unwrap());
        Running { child: Some(child), printed, told }
    }

    /// The next line that it prints.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.printed.recv_timeout(HANGS) {
            Ok(line) => line,
            Err(_) => panic!("it prints nothing, but says: {:?}", self.told.try_iter().collect::<Vec<_>>()),
        }
    }

    /// What it printed, and was not asked for yet.
    pub fn printed(&self) -> Vec<String> {
        self.printed.try_iter().collect()
    }

    /// What it said on standard error, and was not asked for yet.
    pub fn said(&self) -> Vec<String> {
        self.told.try_iter().collect()
    }

    /// Waits for a line on standard error that holds this.
    #[track_caller]
    pub fn told(&mut self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.told.recv_timeout(HANGS) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("it does not say {part:?}, but: {before:?}"),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs until it is stopped");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits for its end; answers with what it said and was not asked for yet.
    #[track_caller]
    pub fn wait(mut self) -> Answer {
        let mut answer = finish(self.child.take().expect("it runs until it is stopped"));
        answer.stdout = self.printed.iter().flat_map(|line| (line + "\n").into_bytes()).collect();
        answer.stderr = self.told.iter().map(|line| line + "\n").collect();
        answer
    }

    /// Stops it in order.
    #[track_caller]
    pub fn stop(self) -> Answer {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Ends it as a power cut would, as far as a process can tell.
    #[track_caller]
    pub fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = (child.kill(), child.wait());
        }
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    let line = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
    thread::spawn(move || {
        BufReader::new(pipe).split(b'\n').map_while(Result::ok).try_for_each(|read| send.send(line(read)))
    });
    lines
}

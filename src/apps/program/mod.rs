//! A command that is run for one message, to its end or to its time limit. Never settles or answers anything.

mod environment;

use std::{
    env,
    ffi::OsString,
    fmt, io,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time,
};

use crate::{pb::v1::Message, units::Span};

/// What is run for each message. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Program(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The program and its arguments; at least one word.
    words: Vec<OsString>,
    timeout: Option<Span>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With exit code 0.
    Done,
    /// In another way.
    Failed(Cause),
}

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It said so.
    Code(i32),
    /// It was killed.
    Signal(i32),
    /// It took too long.
    Timeout(Span),
    /// It said more than so many bytes.
    Wordy(usize),
}

impl Program {
    /// `words` are the program and its arguments, at least one.
    pub fn new(words: Vec<OsString>, timeout: Option<Span>) -> Self {
        Program(Arc::new(Inner { words, timeout }))
    }

    /// The program's name, to tell of it.
    pub fn name(&self) -> String {
        self.0.words[0].to_string_lossy().into_owned()
    }

    /// Runs it for one message, which was delivered so often. The error is that it could not be started. Dropped before it
    /// ends it kills the command, with all that this has started.
    pub async fn run(self, message: Message, attempt: u32) -> io::Result<Outcome> {
        Ok(self.work(message, attempt, None).await?.0)
    }

    /// The same; and what it said on its standard output, at most so many bytes.
    pub async fn ask(self, message: Message, most: usize) -> io::Result<(Outcome, Vec<u8>)> {
        self.work(message, 1, Some(most)).await
    }

    async fn work(self, message: Message, attempt: u32, most: Option<usize>) -> io::Result<(Outcome, Vec<u8>)> {
        let mut command = self.command(&message, attempt);
        if most.is_some() {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn()?;
        let mut group = Group::of(&child);
        let feeding = child.stdin.take().map(|mut stdin| {
            // A command that does not read all of it may know enough.
            tokio::spawn(async move { stdin.write_all(message.bytes()).await })
        });
        let limit = async {
            match self.0.timeout {
                Some(Span(limit)) => time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let (stdout, most) = (child.stdout.take(), most.unwrap_or_default());
        let work = async {
            let mut said = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(most as u64 + 1).read_to_end(&mut said).await?;
            }
            match said.len() > most {
                true => Ok((None, said)),
                false => Ok::<_, io::Error>((Some(child.wait().await?), said)),
            }
        };
        let ended = tokio::select! {
            ended = work => Some(ended?),
            () = limit => None,
        };
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        let (cause, said) = match (ended, self.0.timeout) {
            (Some((Some(status), said)), _) => {
                group.0 = None;
                return Ok((Outcome::of(status), said));
            }
            (None, Some(limit)) => (Cause::Timeout(limit), Vec::new()),
            (_, _) => (Cause::Wordy(most), Vec::new()),
        };
        group.kill();
        child.wait().await?;
        Ok((Outcome::Failed(cause), said))
    }

    fn command(&self, message: &Message, attempt: u32) -> Command {
        let mut command = Command::new(&self.0.words[0]);
        // In a group of its own Ctrl-C does not reach it, and it can be killed with its children.
        command.args(&self.0.words[1..]).stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
        let attribute = |name: &OsString| name.to_string_lossy().starts_with(environment::ATTRIBUTE);
        for (name, _) in env::vars_os().filter(|(name, _)| attribute(name)) {
            command.env_remove(name);
        }
        command.envs(environment::of(message, attempt));
        command
    }
}

impl Outcome {
    fn of(status: ExitStatus) -> Outcome {
        match (status.code(), status.signal()) {
            (Some(0), _) => Outcome::Done,
            (Some(code), _) => Outcome::Failed(Cause::Code(code)),
            (None, signal) => Outcome::Failed(Cause::Signal(signal.unwrap_or_default())),
        }
    }
}

/// The reason that is kept with the message.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Code(code) => write!(f, "exit code {code}"),
            Cause::Signal(signal) => write!(f, "killed by signal {signal}"),
            Cause::Timeout(limit) => write!(f, "took longer than {limit}"),
            Cause::Wordy(most) => write!(f, "said more than {most} bytes"),
        }
    }
}

/// The processes of a command that has not ended. Dropping it kills them.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)))
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended meanwhile, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pb::v1::message::Payload;

    fn shell(script: &str, timeout: Option<Span>) -> Program {
        Program::new(["sh", "-c", script].map(OsString::from).to_vec(), timeout)
    }

    fn message(payload: &[u8]) -> Message {
        let payload = Some(Payload::Data(payload.to_vec().into()));
        Message { payload, topic: "a".into(), ..Default::default() }
    }

    #[tokio::test]
    async fn it_gets_the_payload_and_says_how_it_ended() {
        let ran = async |script: &str| shell(script, None).run(message(b"x"), 1).await.unwrap();
        assert_eq!(ran("test \"$(cat)\" = x && test \"$TILDE_TOPIC\" = a").await, Outcome::Done);
        assert_eq!(ran("exit 3").await, Outcome::Failed(Cause::Code(3)));
        assert_eq!(ran("kill -9 $$").await, Outcome::Failed(Cause::Signal(9)));
    }

    #[tokio::test]
    async fn it_need_not_read_a_payload_that_no_pipe_holds() {
        assert_eq!(shell("true", None).run(message(&[0; 1 << 20]), 1).await.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn it_is_killed_with_its_children_when_it_takes_too_long() {
        let limit = Span(Duration::from_millis(20));
        // The child holds the group, and would hold the shell as long.
        let outcome = shell("sleep 600 & wait", Some(limit)).run(message(b""), 1).await.unwrap();
        assert_eq!(outcome, Outcome::Failed(Cause::Timeout(limit)));
        assert_eq!(Cause::Timeout(limit).to_string(), "took longer than 20ms");
    }

    #[tokio::test]
    async fn what_it_says_is_heard_up_to_a_bound() {
        let ask = async |script: &str| shell(script, None).ask(message(b"x"), 10).await.unwrap();
        assert_eq!(ask("cat; printf y").await, (Outcome::Done, b"xy".to_vec()));
        assert_eq!(ask("printf no; exit 2").await, (Outcome::Failed(Cause::Code(2)), b"no".to_vec()));
        assert_eq!(ask("yes").await.0, Outcome::Failed(Cause::Wordy(10)));
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_an_error() {
        let program = Program::new(vec!["/nonexistent/program".into()], None);
        assert_eq!(program.run(message(b""), 1).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

//! Runs the command for one message, to its end or to its time limit. Never settles anything.

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
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time,
};

use super::environment;
use crate::{pb::v1::Delivery, units::Span};

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

    /// Runs it for one message. The error is that it could not be started. Dropped before it ends it kills the command,
    /// with all that this has started.
    pub async fn run(self, delivery: Delivery) -> io::Result<Outcome> {
        let mut child = self.command(&delivery).spawn()?;
        let mut group = Group::of(&child);
        let feeding = child.stdin.take().map(|mut stdin| {
            // A command that does not read all of it may know enough.
            tokio::spawn(async move { stdin.write_all(delivery.message.unwrap_or_default().bytes()).await })
        });
        let limit = async {
            match self.0.timeout {
                Some(Span(limit)) => time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            () = limit => None,
        };
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        match (ended, self.0.timeout) {
            (None, Some(limit)) => {
                group.kill();
                child.wait().await?;
                Ok(Outcome::Failed(Cause::Timeout(limit)))
            }
            (ended, _) => {
                group.0 = None;
                Ok(ended.map_or(Outcome::Done, Outcome::of))
            }
        }
    }

    fn command(&self, delivery: &Delivery) -> Command {
        let mut command = Command::new(&self.0.words[0]);
        // In a group of its own Ctrl-C does not reach it, and it can be killed with its children.
        command.args(&self.0.words[1..]).stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
        let attribute = |name: &OsString| name.to_string_lossy().starts_with(environment::ATTRIBUTE);
        for (name, _) in env::vars_os().filter(|(name, _)| attribute(name)) {
            command.env_remove(name);
        }
        if let Some(message) = &delivery.message {
            command.envs(environment::of(message, delivery));
        }
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
    use crate::pb::v1::{Message, message::Payload};

    fn shell(script: &str, timeout: Option<Span>) -> Program {
        Program::new(["sh", "-c", script].map(OsString::from).to_vec(), timeout)
    }

    fn delivery(payload: &[u8]) -> Delivery {
        let payload = Some(Payload::Data(payload.to_vec().into()));
        Delivery { message: Some(Message { payload, topic: "a".into(), ..Default::default() }), ..Default::default() }
    }

    #[tokio::test]
    async fn it_gets_the_payload_and_says_how_it_ended() {
        let ran = async |script: &str| shell(script, None).run(delivery(b"x")).await.unwrap();
        assert_eq!(ran("test \"$(cat)\" = x && test \"$TILDE_TOPIC\" = a").await, Outcome::Done);
        assert_eq!(ran("exit 3").await, Outcome::Failed(Cause::Code(3)));
        assert_eq!(ran("kill -9 $$").await, Outcome::Failed(Cause::Signal(9)));
    }

    #[tokio::test]
    async fn it_need_not_read_a_payload_that_no_pipe_holds() {
        assert_eq!(shell("true", None).run(delivery(&[0; 1 << 20])).await.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn it_is_killed_with_its_children_when_it_takes_too_long() {
        let limit = Span(Duration::from_millis(20));
        // The child holds the group, and would hold the shell as long.
        let outcome = shell("sleep 600 & wait", Some(limit)).run(delivery(b"")).await.unwrap();
        assert_eq!(outcome, Outcome::Failed(Cause::Timeout(limit)));
        assert_eq!(Cause::Timeout(limit).to_string(), "took longer than 20ms");
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_an_error() {
        let program = Program::new(vec!["/nonexistent/program".into()], None);
        assert_eq!(program.run(delivery(b"")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

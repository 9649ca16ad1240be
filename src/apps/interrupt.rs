//! Ctrl-C and SIGTERM for commands that go on until they are stopped.

use std::{io, process, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time,
};

/// How long the command may take to end by itself. It may be stuck writing into a pipe that nobody reads.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Tells when the person has had enough.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<u32>);

impl Interrupt {
    /// Listens from now on: the signals no longer end the process at once. `unfinished` is its exit code if it does not
    /// end by itself in time, or is asked a second time.
    pub fn listen(unfinished: i32) -> io::Result<Self> {
        Interrupt::listen_for(1, unfinished)
    }

    /// The same for a command that has something to finish after the first signal, for as long as that takes. It is told
    /// of the second, and from then on is in a hurry.
    pub fn listen_patiently(unfinished: i32) -> io::Result<Self> {
        Interrupt::listen_for(2, unfinished)
    }

    fn listen_for(signals: u32, unfinished: i32) -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (tell, told) = watch::channel(0);
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            for number in 1..=signals {
                next().await;
                tell.send_replace(number);
            }
            tokio::select! {
                () = next() => {}
                () = time::sleep(PATIENCE) => {}
            }
            process::exit(unfinished);
        });
        Ok(Interrupt(told))
    }

    /// Ends once one of the signals has come.
    pub async fn wait(&mut self) {
        self.wait_for(1).await;
    }

    /// Ends once so many have come.
    pub async fn wait_for(&mut self, signals: u32) {
        // The sender lives as long as the process.
        let _ = self.0.wait_for(|&come| come >= signals).await;
    }
}

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
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on: the signals no longer end the process at once. `unfinished` is its exit code if it does not
    /// end by itself in time, or is asked a second time.
    pub fn listen(unfinished: i32) -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell.send_replace(true);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = time::sleep(PATIENCE) => {}
            }
            process::exit(unfinished);
        });
        Ok(Interrupt(told))
    }

    /// Ends once one of the signals has come.
    pub async fn wait(&mut self) {
        // The sender lives as long as the process.
        let _ = self.0.wait_for(|&interrupted| interrupted).await;
    }
}

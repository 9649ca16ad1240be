//! SIGTERM and SIGINT: the first asks the broker to stop in order, the second ends it at once.

use std::{future::Future, io, process};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Listens from now on. What is returned ends with the first signal.
pub fn listen() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (ask, asked) = oneshot::channel();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "asked to stop");
        // Nobody waits for it while the broker is still opening.
        let _ = ask.send(());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("asked a second time: stopping at once");
        process::exit(1);
    });
    Ok(async move {
        // The task lives as long as the process.
        let _ = asked.await;
    })
}

//! Connections that are made and then say nothing, or not enough.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

use super::{
    frames::{self, PREFACE},
    tally::Tally,
};
use crate::load::target::Target;

const CONNECTIONS: usize = 10_000;

/// Connections that are being made at a time.
const AT_ONCE: usize = 200;

/// Longer than the broker's handshake may take.
const PATIENCE: Duration = Duration::from_secs(25);

/// Ten thousand connections: every second says half a greeting, the others nothing. Meanwhile a new client must be
/// answered.
pub async fn half_open(target: &Target, address: SocketAddr) -> Result<Tally> {
    let mut tally = Tally::default();
    let (mut making, mut made) = (JoinSet::new(), Vec::with_capacity(CONNECTIONS));
    for n in 0..CONNECTIONS {
        making.spawn(async move {
            let mut connection = timeout(PATIENCE, TcpStream::connect(address)).await??;
            if n % 2 == 0 {
                connection.write_all(&PREFACE[..12]).await?;
            }
            std::io::Result::Ok(connection)
        });
        while making.len() >= AT_ONCE || (n + 1 == CONNECTIONS && !making.is_empty()) {
            match making.join_next().await.transpose()? {
                Some(Ok(connection)) => made.push(connection),
                _ => tally.count("not connected"),
            }
        }
    }
    let start = Instant::now();
    timeout(PATIENCE, target.usage()).await.context("a new client gets no answer")??;
    tally.count(format!("a new client waited {} ms", start.elapsed().as_millis()));
    let mut ends = JoinSet::new();
    for mut connection in made {
        ends.spawn(async move { frames::fate(&mut connection, PATIENCE).await });
    }
    while let Some(end) = ends.join_next().await {
        tally.fate(Ok(end?));
    }
    Ok(tally)
}

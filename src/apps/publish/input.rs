//! Standard input, line by line, in batches that do not wait to fill. Never publishes anything.

use std::{
    collections::VecDeque,
    io::{self, Read},
    thread,
};

use tokio::sync::mpsc;

use crate::apps::payload;

/// What is taken from standard input at a time.
const BATCH_MESSAGES: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;

/// Bytes read at a time, and how many such reads may wait.
const READ_BYTES: usize = 64 << 10;
const READS: usize = 4;

/// Lines as they come, in batches that do not wait to fill.
pub struct Lines {
    reads: mpsc::Receiver<Result<Vec<Vec<u8>>, String>>,
    pending: VecDeque<Vec<u8>>,
    /// Bytes that a message takes besides its line.
    overhead: usize,
    failed: Option<String>,
}

impl Lines {
    /// Reads on a thread of its own: a read can take for ever, and nothing can end it.
    pub fn read(input: impl Read + Send + 'static, overhead: usize) -> Self {
        let (send, reads) = mpsc::channel(READS);
        thread::spawn(move || split(input, &send));
        Lines { reads, pending: VecDeque::new(), overhead, failed: None }
    }

    /// What is ready, at least a line; empty at the end.
    pub async fn batch(&mut self) -> Result<Vec<Vec<u8>>, String> {
        if self.pending.is_empty()
            && self.failed.is_none()
            && let Some(read) = self.reads.recv().await
        {
            self.add(read);
        }
        while self.pending.len() < BATCH_MESSAGES
            && self.failed.is_none()
            && let Ok(read) = self.reads.try_recv()
        {
            self.add(read);
        }
        let mut bytes = 0;
        let fits = |line: &&Vec<u8>| {
            bytes += line.len() + self.overhead;
            bytes <= BATCH_BYTES
        };
        // A line that is larger than a batch goes alone.
        let count = self.pending.iter().take(BATCH_MESSAGES).take_while(fits).count().max(1);
        let batch: Vec<_> = self.pending.drain(..count.min(self.pending.len())).collect();
        match self.failed.take() {
            Some(error) if batch.is_empty() => Err(error),
            failed => {
                self.failed = failed;
                Ok(batch)
            }
        }
    }

    fn add(&mut self, read: Result<Vec<Vec<u8>>, String>) {
        match read {
            Ok(lines) => self.pending.extend(lines),
            Err(error) => self.failed = Some(error),
        }
    }
}

/// Splits what comes into lines. The last one counts without a newline too.
fn split(mut input: impl Read, send: &mpsc::Sender<Result<Vec<Vec<u8>>, String>>) {
    let mut buffer = vec![0; READ_BYTES];
    let mut begun = Vec::new();
    let mut number: u64 = 1;
    let result = loop {
        let bytes = match input.read(&mut buffer) {
            Ok(0) if begun.is_empty() => return,
            Ok(0) => break Ok(vec![begun]),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Err(format!("standard input cannot be read: {error}")),
        };
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) if begun.is_empty() => lines.push(end.to_vec()),
                Some(end) => {
                    begun.extend_from_slice(end);
                    lines.push(std::mem::take(&mut begun));
                }
                None => begun.extend_from_slice(piece),
            }
        }
        number += lines.len() as u64;
        if !lines.is_empty() && send.blocking_send(Ok(lines)).is_err() {
            return;
        }
        if begun.len() > payload::BYTES {
            break Err(format!("line {number} is longer than fits into a message; it was not published"));
        }
    };
    // Nobody listens any more if the command has failed.
    let _ = send.blocking_send(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &'static [u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::read(input, 0);
        let mut all = Vec::new();
        loop {
            match lines.batch().await.unwrap() {
                batch if batch.is_empty() => return all,
                batch => all.extend(batch),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_byte_for_byte() {
        assert!(all(b"").await.is_empty());
        assert_eq!(all(b"\n").await, [b""]);
        assert_eq!(all(b"a\n\n\xff\r\nlast").await, [&b"a"[..], b"", b"\xff\r", b"last"]);
        assert_eq!(all(b"a\n").await, [b"a"]);
    }

    #[tokio::test]
    async fn batches_keep_their_bounds() {
        let text: Vec<u8> = (0..5_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let long = [vec![b'x'; BATCH_BYTES + 1], b"\ny\n".to_vec()].concat();
        let mut lines = Lines::read(io::Cursor::new([text, long].concat()), 0);
        let mut count = 0;
        loop {
            let batch = lines.batch().await.unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= BATCH_MESSAGES);
            let bytes: usize = batch.iter().map(Vec::len).sum();
            assert!(bytes <= BATCH_BYTES || batch.len() == 1);
            count += batch.len();
        }
        assert_eq!(count, 5_002);
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_after_those_before_it() {
        let mut lines = Lines::read(io::Cursor::new(b"a\n".to_vec()).chain(io::repeat(b'x')), 0);
        assert_eq!(lines.batch().await.unwrap(), [b"a"]);
        assert!(lines.batch().await.unwrap_err().starts_with("line 2 is longer"));
    }
}

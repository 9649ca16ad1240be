//! Real NATS servers on loopback, each on a port of its own and with a directory of its own, as long as somebody holds
//! them.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::tool::tool;

/// How long a server may take until it can be reached.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server.
pub struct Nats {
    dir: TempDir,
    child: Child,
    url: String,
}

impl Nats {
    /// Starts one with JetStream, which syncs as servers do by default: now and then.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, url) = spawn(dir.path(), "127.0.0.1:-1");
        Nats { dir, child, url }
    }

    /// Kills it. What it had written stays.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let address = self.url.trim_start_matches("nats://").to_owned();
        (self.child, self.url) = spawn(self.dir.path(), &address);
    }

    /// Where it listens.
    pub fn urls(&self) -> Vec<String> {
        vec![self.url.clone()]
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(dir: &Path, address: &str) -> (Child, String) {
    let file = dir.join("nats.conf");
    let config = format!(
        "listen: {address:?}\nports_file_dir: {dir:?}\njetstream {{ store_dir: {store:?} }}\n",
        store = dir.join("data"),
    );
    fs::write(&file, config).unwrap();
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(tool("nats-server"));
    command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().unwrap();
    let ports = dir.join(format!("nats-server_{}.ports", child.id()));
    let begin = Instant::now();
    let url = loop {
        if let Some(url) = fs::read(&ports).ok().and_then(|bytes| listening(&bytes)) {
            break url;
        }
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(begin.elapsed() < PATIENCE, "nats-server does not listen: {}", log());
        thread::sleep(Duration::from_millis(5));
    };
    (child, url)
}

fn listening(ports: &[u8]) -> Option<String> {
    let ports: serde_json::Value = serde_json::from_slice(ports).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

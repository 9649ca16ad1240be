//! Real NATS servers on loopback, each on a port of its own and with a directory of its own, as long as somebody holds
//! them, and no longer than the tests run: one, or three that form a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    ports::{free_address, free_port},
    tool::tool,
};

/// How long a server may take until it can be reached.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server, or a cluster.
pub struct Nats {
    nodes: Vec<Node>,
    _dir: Option<TempDir>,
}

struct Node {
    dir: PathBuf,
    child: Child,
    url: String,
    // What the others are called; nothing if it is alone.
    cluster: String,
}

impl Nats {
    /// One server with JetStream, which syncs as servers do by default: now and then.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nats = Nats::start_in(dir.path().to_owned());
        Nats { _dir: Some(dir), ..nats }
    }

    /// The same, with its data in a directory that is somebody else's.
    pub fn start_in(dir: PathBuf) -> Self {
        Nats { nodes: vec![Node::start(dir, String::new())], _dir: None }
    }

    /// A cluster of three. Clients are not told by one of them where the others are.
    pub fn cluster() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let node = |at: usize| {
            let others = ports.iter().filter(|port| **port != ports[at]);
            let routes: Vec<_> = others.map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
            let cluster = format!(
                "server_name: n{at}\ncluster {{ name: tests, listen: \"127.0.0.1:{port}\", routes: [{routes}], no_advertise: true }}\n",
                port = ports[at],
                routes = routes.join(", "),
            );
            Node::start(dir.path().join(at.to_string()), cluster)
        };
        Nats { nodes: (0..3).map(node).collect(), _dir: Some(dir) }
    }

    /// Kills one. What it had written stays.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].end();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        (node.child, node.url) = spawn(&node.dir, node.url.trim_start_matches("nats://"), &node.cluster);
    }

    /// Where they listen.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url.clone()).collect()
    }

    /// How many keep each message.
    pub fn replicas(&self) -> usize {
        self.nodes.len()
    }
}

impl Node {
    fn start(dir: PathBuf, cluster: String) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let (child, url) = spawn(&dir, &free_address(), &cluster);
        Node { dir, child, url, cluster }
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(dir: &Path, address: &str, cluster: &str) -> (Child, String) {
    let file = dir.join("nats.conf");
    let config = format!(
        "listen: {address:?}\nports_file_dir: {dir:?}\njetstream {{ store_dir: {store:?} }}\n{cluster}",
        store = dir.join("data"),
    );
    fs::write(&file, config).unwrap();
    let log = fs::File::create(dir.join("log")).unwrap();
    // It ends when the tests do, however they end.
    let mut command = Command::new(tool("setpriv"));
    command.args(["--pdeathsig", "KILL"]).arg(tool("nats-server")).arg("-c").arg(&file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = spawn_for_life(command);
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

/// Starts a process from a thread that ends with the tests: what the system tells a child is the death of the thread that
/// made it.
fn spawn_for_life(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<Child>);
    static PARENT: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let parent = PARENT.get_or_init(|| {
        let (send, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                answer.send(command.spawn().unwrap()).unwrap();
            }
        });
        send
    });
    let (send, child) = mpsc::channel();
    parent.send((command, send)).unwrap();
    child.recv().unwrap()
}

fn listening(ports: &[u8]) -> Option<String> {
    let ports: serde_json::Value = serde_json::from_slice(ports).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

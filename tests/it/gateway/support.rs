//! A gateway from outside: the real binary on a port of its own, callers in front, and what a back end sees behind.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tilde::client::{Client, Question, Responder};
use tokio::{runtime::Runtime, time::timeout};

use crate::support::{
    Tilde, finish,
    http::{HANGS, Line, until},
    tilde,
};

/// `GET /hello`, as its files are called.
pub const HELLO: &str = "6c3ae8251c28a4439e557fd75e437b32";

/// A running gateway. Dropping it kills it.
pub struct Gateway {
    child: Option<Child>,
    /// Where callers come in.
    pub url: String,
    metrics: String,
    log: PathBuf,
    began: usize,
}

impl Gateway {
    /// Starts one in a directory, with a log there that goes on where the one before ended.
    #[track_caller]
    pub fn start(place: &Path, args: &[&str]) -> Self {
        Gateway::start_as(place, args, |command| command)
    }

    /// The same by a command that was changed.
    #[track_caller]
    pub fn start_as(place: &Path, args: &[&str], change: impl FnOnce(Command) -> Command) -> Self {
        let log = place.join("log");
        let ports = ["gateway", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
        let mut command = change(tilde(place, &[&ports, args].concat()));
        let began = fs::metadata(&log).map_or(0, |log| log.len() as usize);
        command.stdout(File::options().create(true).append(true).open(&log).unwrap());
        command.stderr(File::options().create(true).append(true).open(place.join("stderr")).unwrap());
        let mut child = command.spawn().unwrap();
        let mut gateway = Gateway { child: None, url: String::new(), metrics: String::new(), log, began };
        until("the gateway listens", || {
            let log = gateway.log();
            let after = |begin: &str, ends: char| {
                // Also within an object.
                let (_, rest) = log.lines().find_map(|line| line.split_once(begin))?;
                Some(rest.split([ends, '"']).next().unwrap_or_default().to_owned())
            };
            gateway.url = after("gateway is listening on ", ',').unwrap_or_default();
            gateway.metrics = after("metrics are on ", ' ').unwrap_or_default();
            if let Some(ended) = child.try_wait().unwrap() {
                panic!("it did not start: {ended}: {}", fs::read_to_string(place.join("stderr")).unwrap());
            }
            !gateway.metrics.is_empty() && log.ends_with('\n')
        });
        gateway.child = Some(child);
        gateway
    }

    /// A caller asks, and waits.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str) -> Line {
        let mut line = Line::to(&self.url);
        line.request(method, path, &[], b"");
        line
    }

    /// The same for `GET`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Line {
        self.ask("GET", path)
    }

    /// What it counts.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let url = self.metrics.strip_suffix("/metrics").unwrap();
        let page = crate::support::http::ask(url, "GET", "/metrics", &[], b"").text();
        let line =
            page.lines().find_map(|line| line.strip_prefix(&format!("tilde_gateway_{name} ")).map(str::to_owned));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
    }

    /// Where its counters are.
    pub fn metrics_address(&self) -> &str {
        self.metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap()
    }

    /// Waits until so many callers wait.
    #[track_caller]
    pub fn until_waiting(&self, callers: u64) {
        until("callers wait", || self.metric("waiting") == callers);
    }

    /// What this gateway has logged.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&log[self.began..]).into_owned()
    }

    /// Waits for a line of the log with all of these in it. Answers with it.
    #[track_caller]
    pub fn until_logged(&self, words: &[&str]) -> String {
        let mut found = None;
        until(&format!("{words:?} in the log: {}", self.log()), || {
            found = self.lines(words).into_iter().next();
            found.is_some()
        });
        found.unwrap()
    }

    /// The lines of the log with all of these in them.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Stops it in order, which must succeed.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        finish(self.child.take().unwrap()).ok();
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        assert!(!finish(self.child.take().unwrap()).status.success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = (child.kill(), child.wait());
        }
    }
}

/// The next answer: its status and its body.
#[track_caller]
pub fn told(line: &mut Line) -> (u16, Vec<u8>) {
    let told = line.told();
    (told.status(), told.body)
}

/// What is between a gateway and a back end, as the back end sees it.
pub trait Behind {
    /// What names a request there.
    type Asked;

    /// Ready to be used.
    fn new() -> Self;

    /// The gateway's flags for it.
    fn flags(&self) -> Vec<String>;

    /// A place for the gateway's own files.
    fn place(&self) -> &Path;

    /// The next request, with what it asks for in full.
    fn take(&mut self) -> (Self::Asked, String);

    /// Answers a request.
    fn answer(&mut self, asked: Self::Asked, bytes: &[u8]);

    /// Whether nothing is left of any request.
    fn is_empty(&self) -> bool;
}

/// A directory.
pub struct Files {
    place: TempDir,
    // Those that were taken, as they were.
    taken: Vec<(String, u64, i64)>,
}

impl Files {
    /// The directory itself.
    pub fn path(&self) -> PathBuf {
        self.place.path().join("box")
    }

    /// The names of all files in it, those that are being written too.
    pub fn names(&self) -> Vec<String> {
        names(&self.path())
    }

    fn requests(&self) -> Vec<(String, u64, i64)> {
        let requests = self.names().into_iter().filter(|name| name.ends_with(".req"));
        let found = requests.filter_map(|name| {
            let metadata = fs::metadata(self.path().join(&name)).ok()?;
            Some((name, metadata.ino(), metadata.ctime_nsec()))
        });
        found.filter(|found| !self.taken.contains(found)).collect()
    }
}

/// Answers whatever is asked in a directory, until it is dropped.
pub struct BackEnd {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BackEnd {
    /// With this body.
    pub fn start(directory: PathBuf, body: Vec<u8>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, answer) = (Arc::clone(&stop), [b"200\n".to_vec(), body].concat());
        let work = move || {
            while !stopped.load(Relaxed) {
                for name in names(&directory).into_iter().filter(|name| name.ends_with(".req")) {
                    let path = directory.join(name).with_extension("resp");
                    if !path.exists() {
                        // The gateway may be done with it meanwhile.
                        let _ = fs::write(path, &answer);
                    }
                }
                thread::yield_now();
            }
        };
        BackEnd { stop, thread: Some(thread::spawn(work)) }
    }
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The names of all files in a directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

impl Behind for Files {
    type Asked = String;

    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("box")).unwrap();
        Files { place, taken: Vec::new() }
    }

    fn flags(&self) -> Vec<String> {
        ["--transport", "files", "--directory", "box"].map(str::to_owned).into()
    }

    fn place(&self) -> &Path {
        self.place.path()
    }

    fn take(&mut self) -> (String, String) {
        let mut found = Vec::new();
        until("a request comes", || {
            found = self.requests();
            !found.is_empty()
        });
        let name = found[0].0.clone();
        let text = fs::read_to_string(self.path().join(&name)).unwrap();
        self.taken.push(found.swap_remove(0));
        (name.trim_end_matches(".req").to_owned(), text)
    }

    fn answer(&mut self, asked: String, bytes: &[u8]) {
        fs::write(self.path().join(asked + ".resp"), bytes).unwrap();
    }

    fn is_empty(&self) -> bool {
        self.names().is_empty()
    }
}

/// A Tilde broker.
pub struct Topics {
    place: TempDir,
    pub broker: Tilde,
    responder: Responder,
    runtime: Runtime,
}

impl Behind for Topics {
    type Asked = Question;

    fn new() -> Self {
        let broker = Tilde::in_memory();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let responder = runtime.block_on(async {
            let mut responder = Client::connect(&broker.url).await.unwrap().respond(["gateway/~"]);
            responder.ready().await.unwrap();
            responder
        });
        Topics { place: tempfile::tempdir().unwrap(), broker, responder, runtime }
    }

    fn flags(&self) -> Vec<String> {
        ["--transport", "broker", "--broker", &self.broker.url].map(str::to_owned).into()
    }

    fn place(&self) -> &Path {
        self.place.path()
    }

    fn take(&mut self) -> (Question, String) {
        let next = async { timeout(HANGS, self.responder.next()).await.expect("a request comes") };
        let question = self.runtime.block_on(next).unwrap().unwrap();
        let text = String::from_utf8(question.message.bytes().to_vec()).unwrap();
        (question, text)
    }

    fn answer(&mut self, asked: Question, bytes: &[u8]) {
        self.runtime.block_on(asked.reply_data(bytes.to_vec())).unwrap();
    }

    fn is_empty(&self) -> bool {
        crate::support::http::metric(&self.broker, "tilde_waiting_calls{namespace=\"default\"}") == 0
    }
}

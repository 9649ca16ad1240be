//! A network namespace of its own, which can be reached only over a bad line: packets get lost, late, and out of order.
//! Made by `tc netem`; where the kernel has none, by `lossy.py` beside this file.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{Tilde, through};

/// One packet in fifty is lost, each takes 5 ms, give or take 3: a mobile phone on a good day.
const NETEM: [&str; 6] = ["netem", "loss", "2%", "delay", "5ms", "3ms"];
const LOSSY: [&str; 3] = ["0.02", "0.005", "0.003"];

/// Dropping it takes everything away again.
pub struct BadNetwork {
    name: String,
    address: String,
    lossy: Option<Child>,
}

impl BadNetwork {
    #[track_caller]
    pub fn new() -> BadNetwork {
        // Tests of one process are the only ones that run on a machine, usually; and if not, they have other numbers.
        let number = std::process::id();
        let name = format!("tilde-{number}");
        let (here, there) = (format!("ti{number}a"), format!("ti{number}b"));
        let net = format!("10.213.{}", number % 250);
        let mut network = BadNetwork { name: name.clone(), address: format!("{net}.2"), lossy: None };
        done("ip", &["netns", "add", &name]);
        done("ip", &["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &name]);
        if !network.degrade(&here, &there) {
            done("ip", &["link", "delete", &here]);
            network.lossy = Some(lossy(&here, &there));
            done("ip", &["link", "set", &there, "netns", &name]);
        }
        for (prefix, device, own, other) in [(&[][..], &here, 1, 2), (&["-n", &name][..], &there, 2, 1)] {
            let (own, other) = (format!("{net}.{own}"), format!("{net}.{other}"));
            done("ip", &[prefix, &["address", "add", &own, "peer", &other, "dev", device]].concat());
            done("ip", &[prefix, &["link", "set", device, "up"]].concat());
        }
        network
    }

    /// A broker that can be reached only over the bad line.
    #[track_caller]
    pub fn start(&self, directory: &Path) -> Tilde {
        let listen = format!("{}:7126", self.address);
        let args = ["--listen", &listen, "--insecure"];
        Tilde::start_as(directory, &args, |command| through(&["ip", "netns", "exec", &self.name], &command))
    }

    /// Whether the kernel can make the line bad.
    fn degrade(&self, here: &str, there: &str) -> bool {
        let add = |prefix: &[&str], device| {
            let command = [&["qdisc", "add", "dev", device, "root"], &NETEM[..]].concat();
            ended("tc", &[prefix, &command].concat())
        };
        match add(&[], here) {
            Err(told) if told.contains("unknown") => false,
            first => {
                let told = first.and_then(|()| add(&["-n", &self.name], there));
                told.unwrap_or_else(|told| panic!("this test needs `tc netem`: {told}"));
                true
            }
        }
    }
}

impl Drop for BadNetwork {
    fn drop(&mut self) {
        if let Some(mut lossy) = self.lossy.take() {
            let _ = (lossy.kill(), lossy.wait());
        }
        let _ = ended("ip", &["netns", "delete", &self.name]);
    }
}

#[track_caller]
fn lossy(here: &str, there: &str) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/lossy.py");
    let mut command = Command::new("python3");
    command.arg(script).args([here, there]).args(LOSSY).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("this test needs `python3`, as the kernel has no netem");
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n", "this test needs a kernel with netem, or one that lets it make TUN devices");
    child
}

#[track_caller]
fn done(program: &str, args: &[&str]) {
    let sentence = "this test needs root and `ip`, to make a network namespace of its own";
    ended(program, args).unwrap_or_else(|told| panic!("{sentence}: {program} {args:?}: {told}"));
}

/// Runs a command to its end. The error is what it said.
fn ended(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

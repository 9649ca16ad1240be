//! What the operating system says of this process, and what is asked of it. Where it says nothing, so do we.

use std::{fs, time::Duration};

use rustix::{param, process};

/// Memory that the process really takes, in bytes.
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * param::page_size() as u64)
}

/// Threads of the process.
pub fn threads() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// Processor time that the process has used, in its own code and in the system's.
pub fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in brackets and may hold anything; the third field follows. See proc(5): utime is the 14th.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / param::clock_ticks_per_second() as f64))
}

/// Lets the process open as many files as it may, and answers how many that are; none is no limit. Each connection
/// takes one, and the usual soft limit of 1,024 is for programs that still use `select`.
pub fn raise_open_files() -> Option<u64> {
    let limit = process::getrlimit(process::Resource::Nofile);
    let raised = process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    match process::setrlimit(process::Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = limit.current, "the limit of open files could not be raised");
            limit.current
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(cpu_time().is_some() && threads().unwrap() > 0);
        assert!(raise_open_files().is_none_or(|files| files > 0));
    }
}

//! What the kernel says of a process: its CPU time and its memory.

use std::{collections::BTreeMap, fs, time::Duration};

/// How long each thread has run so far, user and system together.
///
/// Taken from each thread's `schedstat`, which counts nanoseconds: `utime` and `stime` of `/proc/PID/stat`
/// are the same time in steps of 10 ms, too coarse for ten events a second.
pub struct CpuTime(BTreeMap<String, Duration>);

impl CpuTime {
    /// Of all threads that the process has now.
    pub fn of(pid: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
        let times = threads.filter_map(|thread| {
            let path = thread.ok()?.path();
            // A thread that has just ended has no time any more.
            let time = run_time(&fs::read_to_string(path.join("schedstat")).ok()?);
            Some((path.to_str()?.to_owned(), time))
        });
        CpuTime(times.collect())
    }

    /// Of this process.
    pub fn here() -> Self {
        Self::of(std::process::id())
    }

    /// How much was used from then to now. What threads used that ended meanwhile is not known.
    pub fn since(&self, earlier: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, time)| {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            time.saturating_sub(before)
        });
        used.sum()
    }
}

/// How long the calling thread has run.
pub fn cpu_time_of_thread() -> Duration {
    // The kernel brings the count up to date when the thread gives the processor away.
    std::thread::sleep(Duration::from_millis(1));
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("this thread runs");
    run_time(&text)
}

fn run_time(schedstat: &str) -> Duration {
    let first = schedstat.split_whitespace().next();
    let nanos = first.and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.expect("schedstat begins with nanoseconds"))
}

/// The memory that a process has in RAM, in bytes.
pub fn resident_bytes(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.expect("VmRSS is a number of kB") * 1024.0
}

/// The machine in one line: processor, kernel, and the file system under `directory`.
pub fn machine(directory: &str) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let models = cpuinfo
        .lines()
        .filter(|line| line.starts_with("model name"));
    let model = models
        .clone()
        .next()
        .and_then(|line| line.split(": ").nth(1));
    let (cores, kernel) = (models.count(), read("/proc/sys/kernel/osrelease"));
    let (mounts, mut best) = (read("/proc/self/mounts"), ("", "unknown"));
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        let (Some(point), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        if directory.starts_with(point) && point.len() >= best.0.len() {
            best = (point, kind);
        }
    }
    format!(
        "{cores} × {}, Linux {}, data on {} in {directory}",
        model.unwrap_or("unknown"),
        kernel.trim(),
        best.1,
    )
}

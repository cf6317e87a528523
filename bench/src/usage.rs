//! Resource usage of processes: CPU time from the scheduler's statistics, and resident memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

/// The processes of a server at one moment.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// CPU nanoseconds of each thread.
    threads: BTreeMap<u32, u64>,
    /// Resident memory in KiB.
    pub resident_kb: u64,
}

impl Usage {
    /// The given processes and all their descendants.
    pub fn of(roots: &[u32]) -> Self {
        let mut all = Self::default();
        for pid in family(roots) {
            all.threads.extend(threads(pid));
            all.resident_kb += resident_kb(pid);
        }
        all
    }

    /// CPU time since `before`. A thread that has exited is not counted.
    pub fn cpu_since(&self, before: &Self) -> Duration {
        let spent = self.threads.iter().map(|(id, ns)| ns - before.threads.get(id).copied().unwrap_or(0));
        Duration::from_nanos(spent.sum())
    }
}

/// The given processes and all their descendants.
fn family(roots: &[u32]) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, parent(pid)?)))
        .collect();
    let mut found: BTreeSet<u32> = roots.iter().copied().collect();
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, ppid)| found.contains(ppid) && !found.contains(pid))
            .map(|p| p.0)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, including spaces.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// CPU nanoseconds of every thread (proc(5), `schedstat`): exact, unlike the 10 ms ticks of `stat`.
fn threads(pid: u32) -> Vec<(u32, u64)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let spent = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, stat.split_whitespace().next()?.parse().ok()?))
    };
    threads.filter_map(spent).collect()
}

fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

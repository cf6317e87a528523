//! Child processes that end with the test.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::Read as _,
    ops::Range,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::random::Random;

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a program; its standard error is kept for [`Process::wait`].
    pub fn start(program: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{program} cannot be started; `make test` installs it"))?;
        Ok(Self { child, name: program.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, ...
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args([format!("-{signal}"), self.id().to_string()]).status()?;
        if !status.success() {
            bail!("{} cannot be signalled", self.name);
        }
        Ok(())
    }

    /// Waits for its end without blocking the runtime. It has ended when standard error closes.
    pub async fn wait(mut self, patience: Duration) -> anyhow::Result<(ExitStatus, String)> {
        let started = Instant::now();
        let stderr = self.child.stderr.take();
        let reading = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            if let Some(mut stderr) = stderr {
                let mut bytes = Vec::new();
                let _ = stderr.read_to_end(&mut bytes);
                said = String::from_utf8_lossy(&bytes).into_owned();
            }
            said
        });
        let Ok(said) = tokio::time::timeout(patience, reading).await else {
            bail!("{} still runs after {:?}", self.name, started.elapsed());
        };
        Ok((self.child.wait()?, said?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program and returns its standard output; an error contains its output.
pub fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be started; `make test` installs it"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path as text. Temporary paths are always valid UTF-8.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Below the range for outgoing connections, one of which could take the port before the program does.
const PORTS: Range<u64> = 10_000..32_000;
/// Attempts; most ports are free.
const TRIES_MAX: u32 = 100;

/// A currently free port, for programs that cannot report the port they chose.
pub fn free_port() -> anyhow::Result<u16> {
    free_ports::<1>().map(|[port]| port)
}

/// Several different free ports.
pub fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // Seeded by the system, since tests run at the same time.
    let mut random = Random::seeded(RandomState::new().hash_one(std::process::id()));
    // Held until all are known, so that no port is returned twice.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let mut tries = 0;
        *port = loop {
            let wanted = random.within(PORTS) as u16;
            match std::net::TcpListener::bind(("127.0.0.1", wanted)) {
                Ok(listener) => {
                    held.push(listener);
                    break wanted;
                }
                Err(error) if tries == TRIES_MAX => return Err(error).context("no port is free"),
                Err(_) => tries += 1,
            }
        };
    }
    Ok(ports)
}

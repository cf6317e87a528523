//! A network link with loss, delay, a rate and an MTU, between two network namespaces. Both ends use the kernel's TCP.
//!
//! A test runs again as a process in its own namespaces, where it can create interfaces without affecting the machine.
//! If the machine does not allow that (`unshare`, `/dev/net/tun`) or has no Python, the test prints a message and ends.

use std::{
    env,
    fs::{File, read_link},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, bail};

use crate::{
    PATIENCE,
    process::{Process, output},
};

/// Set in the process inside the namespaces.
const INSIDE: &str = "TEST_INSIDE_NAMESPACES";
const UNSHARE: [&str; 3] = ["--user", "--map-root-user", "--net"];
const EMULATOR: &str = include_str!("link.py");

/// The address of this end.
pub const HERE: &str = "10.77.0.1";
/// The address of the far end.
pub const THERE: &str = "10.77.0.2";

/// The properties of a link.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Share of packets lost, in each direction.
    pub loss: f64,
    /// One-way delay.
    pub delay_ms: u32,
    /// Rate in each direction.
    pub kbps: u32,
    /// Larger packets are dropped silently. The interfaces at both ends have an MTU of 1500.
    pub mtu: u32,
}

/// A link; it exists until dropped. Only for processes inside the namespaces.
#[derive(Debug)]
pub struct Link {
    emulator: Child,
    control: ChildStdin,
    other_side: Process,
}

/// Whether this process is inside the namespaces. Outside, runs `test` inside, and panics if it fails there.
pub fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let has_namespaces = output("unshare", &[&UNSHARE[..], &["true"]].concat()).is_ok();
    let has_interfaces = File::options().read(true).write(true).open("/dev/net/tun").is_ok();
    if !has_namespaces || !has_interfaces || output("python3", &["--version"]).is_err() {
        eprintln!("{test} was skipped: it needs network namespaces, /dev/net/tun and Python");
        return false;
    }
    let program = env::current_exe().expect("is a file");
    let run = Command::new("unshare")
        .args(UNSHARE)
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("starts");
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(run.status.success() && said.contains("1 passed"), "inside its namespaces: {said}");
    false
}

impl Link {
    /// Creates the link.
    pub async fn start(conditions: Conditions) -> anyhow::Result<Self> {
        let other_side = Process::start("unshare", &["--net", "sleep", "3600"])?;
        let mut emulator = Command::new("python3")
            .args(["-c", EMULATOR])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("Python cannot be started")?;
        let control = emulator.stdin.take().context("has a standard input")?;
        let said = emulator.stdout.take().context("has a standard output")?;
        let mut link = Self { emulator, control, other_side };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the link said {line}");
        }
        link.set(conditions)?;
        link.wait_for_namespace().await?;
        output("ip", &["link", "set", "there", "netns", &link.other_side.id().to_string()])?;
        for (name, address) in [("lo", None), ("here", Some(HERE))] {
            up(&[], name, address)?;
        }
        let enter = link.enter();
        for (name, address) in [("lo", None), ("there", Some(THERE))] {
            up(&enter.each_ref().map(String::as_str), name, address)?;
        }
        Ok(link)
    }

    /// Changes its properties.
    pub fn set(&mut self, conditions: Conditions) -> anyhow::Result<()> {
        let Conditions { loss, delay_ms, kbps, mtu } = conditions;
        // Written at once.
        self.control.write_all(format!("{loss} {delay_ms} {kbps} {mtu}\n").as_bytes())?;
        Ok(())
    }

    /// Command prefix to run a program at the far end.
    pub fn enter(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.other_side.id()), "--".to_owned()]
    }

    async fn wait_for_namespace(&self) -> anyhow::Result<()> {
        let (own, other) = ("/proc/self/ns/net".to_owned(), format!("/proc/{}/ns/net", self.other_side.id()));
        let started = Instant::now();
        while read_link(&own)? == read_link(&other)? {
            if started.elapsed() > PATIENCE {
                bail!("no namespace was made");
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// Brings an interface up, with an optional address.
fn up(enter: &[&str], name: &str, address: Option<&str>) -> anyhow::Result<()> {
    let run = |arguments: &[&str]| {
        let words = [enter, &["ip"], arguments].concat();
        let (program, arguments) = words.split_first().context("has a word")?;
        output(program, arguments).map(drop)
    };
    if let Some(address) = address {
        run(&["addr", "add", &format!("{address}/24"), "dev", name])?;
    }
    run(&["link", "set", name, "up"])
}

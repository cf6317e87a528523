//! A link that loses, delays and drops large packets, between two network namespaces. The kernel's own TCP is at both ends.
//!
//! A test runs again as a process in namespaces of its own, where it may make interfaces without touching the machine's. Where
//! the machine allows none (`unshare`, `/dev/net/tun`) or has no Python, such a test says so and ends.

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

/// Set in the process that runs inside.
const INSIDE: &str = "TEST_INSIDE_NAMESPACES";
const UNSHARE: [&str; 3] = ["--user", "--map-root-user", "--net"];
const EMULATOR: &str = include_str!("link.py");

/// This end of the link.
pub const HERE: &str = "10.77.0.1";
/// The other end.
pub const THERE: &str = "10.77.0.2";

/// What a link does to packets.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The share of packets that is lost, each way.
    pub loss: f64,
    /// From one end to the other.
    pub delay_ms: u32,
    /// What it carries, each way.
    pub kbps: u32,
    /// Larger packets vanish. The interfaces at both ends believe in 1500.
    pub mtu: u32,
}

/// A link, as long as it is held. For processes inside only.
#[derive(Debug)]
pub struct Link {
    emulator: Child,
    control: ChildStdin,
    other_side: Process,
}

/// Whether this process is inside namespaces of its own. Outside, runs `test` inside, and panics if it fails there.
pub fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let has_namespaces = output("unshare", &[&UNSHARE[..], &["true"]].concat()).is_ok();
    let has_interfaces = File::options().read(true).write(true).open("/dev/net/tun").is_ok();
    if !has_namespaces || !has_interfaces || output("python3", &["--version"]).is_err() {
        eprintln!("{test} was not tried: it needs network namespaces, /dev/net/tun and Python");
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
    /// Makes the link.
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

    /// Changes what it does to packets.
    pub fn set(&mut self, conditions: Conditions) -> anyhow::Result<()> {
        let Conditions { loss, delay_ms, kbps, mtu } = conditions;
        // In one piece.
        self.control.write_all(format!("{loss} {delay_ms} {kbps} {mtu}\n").as_bytes())?;
        Ok(())
    }

    /// What a command begins with that runs at the other end.
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

/// Brings an interface up, with an address.
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

//! A real PostgreSQL of its own, in a temporary folder, with TLS on and a fresh database for each test.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{
    certificate::Certificate,
    process::{free_port, text},
};

/// Where Debian puts the versions of PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";
/// A free port may be taken in the moment before the server binds it; not this often in a row.
const TRIES_MAX: u32 = 3;

/// A running server; stopped when dropped, and also when this process is gone, however that ended.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    place: Place,
    keeper: Child,
    databases: AtomicU32,
}

/// Where it lives.
#[derive(Debug)]
struct Place {
    binaries: PathBuf,
    folder: TempDir,
}

static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap_or_else(|error| panic!("{error:#}")));

impl Postgres {
    /// The one server of this test process, started by the first who asks.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Makes a cluster and starts it on a free port. As root it runs as the user `postgres`, since it refuses to be root.
    pub fn start() -> anyhow::Result<Self> {
        let place = Place { binaries: binaries()?, folder: TempDir::new()? };
        // The other user works here too.
        fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o777))?;
        let data = place.data();
        place.run("initdb", &["-D", text(&data), "-U", "gostream", "-A", "trust", "-E", "UTF8", "--no-sync"])?;
        place.certify()?;
        let mut postgres = Self { port: 0, keeper: place.keeper()?, place, databases: AtomicU32::new(0) };
        for _ in 1..TRIES_MAX {
            postgres.port = free_port()?;
            if postgres.begin().is_ok() {
                return Ok(postgres);
            }
        }
        postgres.port = free_port()?;
        postgres.begin()?;
        Ok(postgres)
    }

    /// Starts it again after [`Postgres::stop`], where it was, with what it held.
    pub fn begin(&self) -> anyhow::Result<()> {
        let options = format!(
            "-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c ssl=on -c fsync=off \
             -c synchronous_commit=off -c full_page_writes=off -c max_connections=200",
            self.port
        );
        let (data, log) = (self.place.data(), self.place.folder.path().join("log"));
        self.place.run("pg_ctl", &["-D", text(&data), "-l", text(&log), "-o", &options, "-w", "start"])
    }

    /// Stops it as its service manager does: connections are closed, and new ones refused.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.place.run("pg_ctl", &["-D", text(&self.place.data()), "-m", "fast", "-w", "stop"])
    }

    /// Runs SQL in one of its databases.
    pub fn sql(&self, url: &str, sql: &str) -> anyhow::Result<()> {
        self.place.run("psql", &[url, "-c", sql])
    }

    /// From now on it takes no changes, as one that was failed over to, or takes them again.
    pub fn read_only(&self, is: bool) -> anyhow::Result<()> {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {}", if is { "on" } else { "off" });
        let may = "SET default_transaction_read_only = off";
        let port = self.port.to_string();
        let commands = ["-c", may, "-c", &set, "-c", "SELECT pg_reload_conf()"];
        self.place.run(
            "psql",
            &[["-h", "127.0.0.1", "-p", &port, "-U", "gostream", "postgres"].as_slice(), &commands].concat(),
        )
    }

    /// Freezes it: connections stay, new ones are taken by the system, and nothing is answered. Thaws when this is dropped.
    pub fn freeze(&self) -> anyhow::Result<Frozen> {
        let pid_file = fs::read_to_string(self.place.data().join("postmaster.pid"))?;
        let main = pid_file.lines().next().context("the server does not run")?.to_owned();
        signal("STOP", std::slice::from_ref(&main))?;
        // Stopped, it starts no more of them.
        let mut frozen = Frozen { processes: vec![main.clone()] };
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        let children: Vec<_> = children.split_whitespace().map(str::to_owned).collect();
        frozen.processes.extend(children.iter().cloned());
        signal("STOP", &children)?;
        Ok(frozen)
    }

    /// A new, empty database, as a URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "gostream", &name];
        self.place.run("createdb", &arguments).unwrap_or_else(|error| panic!("{error:#}"));
        format!("postgres://gostream@127.0.0.1:{port}/{name}")
    }

    /// The certificate of the server, for 127.0.0.1, as a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.place.folder.path().join("server.crt")
    }
}

/// A server that does not move; see [`Postgres::freeze`].
#[derive(Debug)]
pub struct Frozen {
    processes: Vec<String>,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = signal("CONT", &self.processes);
    }
}

fn signal(name: &str, processes: &[String]) -> anyhow::Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).args(processes).status()?;
    if !status.success() {
        bail!("{processes:?} cannot be signalled");
    }
    Ok(())
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Place {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Puts certificate and key where the server looks for them.
    fn certify(&self) -> anyhow::Result<()> {
        let made = Certificate::for_names(&["127.0.0.1"])?;
        for (name, pem) in [("server.crt", made.pem), ("server.key", made.key_pem)] {
            let (from, to) = (self.folder.path().join(name), self.data().join(name));
            fs::write(&from, pem)?;
            // The server wants the key to be its own and nobody else's to read.
            self.run("install", &["-m", "600", text(&from), text(&to)])?;
        }
        Ok(())
    }

    /// A small shell at the other end of a pipe. When the pipe closes, since this process closed it or is no more, it
    /// stops the server and clears up. It stands in a group of its own, so that what kills the test does not kill it.
    fn keeper(&self) -> anyhow::Result<Child> {
        let stop = as_postgres(&self.program("pg_ctl"), &["-D", text(&self.data()), "-m", "immediate", "-w", "stop"]);
        let stop: Vec<_> = std::iter::once(stop.get_program())
            .chain(stop.get_args())
            .map(|word| word.to_string_lossy())
            .collect();
        let script = format!("read -r _; {}; rm -rf {}", stop.join(" "), text(self.folder.path()));
        let mut keeper = Command::new("sh");
        keeper.args(["-c", &script]).current_dir("/").process_group(0);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        keeper.spawn().context("a shell cannot be started")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        // What the server inherits it keeps open, so output goes to a file and not to a pipe that would never end.
        let said = self.folder.path().join("said");
        let output = fs::File::create(&said)?;
        let status = as_postgres(&self.program(program), arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .with_context(|| format!("{program} cannot be started; `make test` installs it"))?;
        if !status.success() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            bail!("{program}: {}{log}", fs::read_to_string(&said).unwrap_or_default());
        }
        Ok(())
    }

    /// One of PostgreSQL's, or else one of the system's.
    fn program(&self, name: &str) -> String {
        let path = self.binaries.join(name);
        if path.exists() { text(&path).to_owned() } else { name.to_owned() }
    }
}

fn as_postgres(program: &str, arguments: &[&str]) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    let mut command = if root { Command::new("runuser") } else { Command::new(program) };
    if root {
        command.args(["-u", "postgres", "--", program]);
    }
    command.args(arguments).current_dir("/");
    command
}

/// The newest installed version's folder, or wherever the path leads.
fn binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|path| path.join("initdb").exists()).max();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| Path::new(folder).join("initdb").exists())
    };
    newest.or_else(on_path).context("PostgreSQL is not installed; `make test` installs it")
}

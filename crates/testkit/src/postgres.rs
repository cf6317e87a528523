//! A separate real PostgreSQL in a temporary folder, with TLS, and a new database for each test.

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

/// Where Debian installs PostgreSQL versions.
const VERSIONS: &str = "/usr/lib/postgresql";
/// A free port may be taken before the server binds it, but not this often in a row.
const TRIES_MAX: u32 = 3;

/// A running server. It stops when dropped, and when this process ends, in whatever way.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    cluster: Cluster,
    watchdog: Child,
    databases: AtomicU32,
}

/// The files and user of a server.
#[derive(Debug)]
struct Cluster {
    binaries: PathBuf,
    folder: TempDir,
}

static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap_or_else(|error| panic!("{error:#}")));

impl Postgres {
    /// The server of this test process, started on first use.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Creates a cluster and starts it on a free port. As root, it runs as the user `postgres`, since PostgreSQL
    /// refuses to run as root.
    pub fn start() -> anyhow::Result<Self> {
        let cluster = Cluster { binaries: binaries()?, folder: TempDir::new()? };
        // The user `postgres` writes here, too.
        fs::set_permissions(cluster.folder.path(), fs::Permissions::from_mode(0o777))?;
        let data = cluster.data();
        cluster.run("initdb", &["-D", text(&data), "-U", "gostream", "-A", "trust", "-E", "UTF8", "--no-sync"])?;
        cluster.certify()?;
        let mut postgres = Self { port: 0, watchdog: cluster.watchdog()?, cluster, databases: AtomicU32::new(0) };
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

    /// Starts it again after [`Postgres::stop`], at the same address with the same data.
    pub fn begin(&self) -> anyhow::Result<()> {
        let options = format!(
            "-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c ssl=on -c fsync=off \
             -c synchronous_commit=off -c full_page_writes=off -c max_connections=200",
            self.port
        );
        let (data, log) = (self.cluster.data(), self.cluster.folder.path().join("log"));
        self.cluster.run("pg_ctl", &["-D", text(&data), "-l", text(&log), "-o", &options, "-w", "start"])
    }

    /// Stops it as its service manager does: connections are closed, and new ones refused.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.cluster.run("pg_ctl", &["-D", text(&self.cluster.data()), "-m", "fast", "-w", "stop"])
    }

    /// Runs SQL in one of its databases.
    pub fn sql(&self, url: &str, sql: &str) -> anyhow::Result<()> {
        self.cluster.run("psql", &[url, "-c", sql])
    }

    /// Makes it read-only, like a standby, or writable again.
    pub fn read_only(&self, is: bool) -> anyhow::Result<()> {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {}", if is { "on" } else { "off" });
        let may = "SET default_transaction_read_only = off";
        let port = self.port.to_string();
        let commands = ["-c", may, "-c", &set, "-c", "SELECT pg_reload_conf()"];
        self.cluster.run(
            "psql",
            &[["-h", "127.0.0.1", "-p", &port, "-U", "gostream", "postgres"].as_slice(), &commands].concat(),
        )
    }

    /// Freezes it: connections stay open, the kernel accepts new ones, and nothing is answered. Dropping the result
    /// resumes it.
    pub fn freeze(&self) -> anyhow::Result<Frozen> {
        let pid_file = fs::read_to_string(self.cluster.data().join("postmaster.pid"))?;
        let main = pid_file.lines().next().context("the server does not run")?.to_owned();
        signal("STOP", std::slice::from_ref(&main))?;
        // While stopped, it starts no more processes.
        let mut frozen = Frozen { processes: vec![main.clone()] };
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        let children: Vec<_> = children.split_whitespace().map(str::to_owned).collect();
        frozen.processes.extend(children.iter().cloned());
        signal("STOP", &children)?;
        Ok(frozen)
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "gostream", &name];
        self.cluster.run("createdb", &arguments).unwrap_or_else(|error| panic!("{error:#}"));
        format!("postgres://gostream@127.0.0.1:{port}/{name}")
    }

    /// The server's certificate for 127.0.0.1, as a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.cluster.folder.path().join("server.crt")
    }
}

/// A stopped server process; see [`Postgres::freeze`].
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
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

impl Cluster {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Puts certificate and key where the server reads them.
    fn certify(&self) -> anyhow::Result<()> {
        let made = Certificate::for_names(&["127.0.0.1"])?;
        for (name, pem) in [("server.crt", made.pem), ("server.key", made.key_pem)] {
            let (from, to) = (self.folder.path().join(name), self.data().join(name));
            fs::write(&from, pem)?;
            // The server requires that it owns the key and that nobody else can read it.
            self.run("install", &["-m", "600", text(&from), text(&to)])?;
        }
        Ok(())
    }

    /// A shell at the other end of a pipe. When the pipe closes, because this process closed it or ended, the shell
    /// stops the server and removes its files. It has its own process group, so that killing the test does not kill it.
    fn watchdog(&self) -> anyhow::Result<Child> {
        let stop = as_postgres(&self.program("pg_ctl"), &["-D", text(&self.data()), "-m", "immediate", "-w", "stop"]);
        let stop: Vec<_> = std::iter::once(stop.get_program())
            .chain(stop.get_args())
            .map(|word| word.to_string_lossy())
            .collect();
        let script = format!("read -r _; {}; rm -rf {}", stop.join(" "), text(self.folder.path()));
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", &script]).current_dir("/").process_group(0);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        watchdog.spawn().context("a shell cannot be started")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        // The server keeps inherited descriptors open, so output goes to a file; a pipe would never end.
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

    /// The path of a PostgreSQL program, or a system program.
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

/// The folder of the newest installed version, or of the one on the PATH.
fn binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|path| path.join("initdb").exists()).max();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| Path::new(folder).join("initdb").exists())
    };
    newest.or_else(on_path).context("PostgreSQL is not installed; `make test` installs it")
}

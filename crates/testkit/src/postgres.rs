//! A real PostgreSQL of its own, in a temporary folder, with a fresh database for each test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::process::{free_port, text};

/// Where Debian puts the versions of PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    binaries: PathBuf,
    folder: TempDir,
    databases: AtomicU32,
}

static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap_or_else(|error| panic!("{error:#}")));

impl Postgres {
    /// The server of this test process. It ends with the process that waits for it, see [`Postgres::start`].
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Makes a cluster and starts it on a free port. As root it runs as the user `postgres`, since it refuses to be root. A
    /// watcher stops it when this process is gone, however that ended.
    pub fn start() -> anyhow::Result<Self> {
        let binaries = binaries()?;
        let folder = TempDir::new()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        let port = free_port()?;
        let postgres = Self { port, binaries, folder, databases: AtomicU32::new(0) };
        let data = postgres.data();
        postgres.run("initdb", &["-D", text(&data), "-U", "gostream", "-A", "trust", "-E", "UTF8", "--no-sync"])?;
        let options = format!(
            "-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off \
             -c synchronous_commit=off -c full_page_writes=off -c max_connections=200",
            text(postgres.folder.path())
        );
        let log = postgres.folder.path().join("log");
        postgres.run("pg_ctl", &["-D", text(&data), "-l", text(&log), "-o", &options, "-w", "start"])?;
        postgres.stop_with_this_process()?;
        Ok(postgres)
    }

    /// A new, empty database, as a URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "gostream", &name];
        self.run("createdb", &arguments).unwrap_or_else(|error| panic!("{error:#}"));
        format!("postgres://gostream@127.0.0.1:{port}/{name}")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let path = self.binaries.join(program);
        // What the server inherits it keeps open, so output goes to a file and not to a pipe that would never end.
        let said = self.folder.path().join("said");
        let output = fs::File::create(&said)?;
        let status = as_postgres(text(&path), arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .with_context(|| format!("{program} cannot be started; `make test` installs it"))?;
        if !status.success() {
            bail!("{program}: {}", fs::read_to_string(&said).unwrap_or_default());
        }
        Ok(())
    }

    /// Statics are never dropped, and a test may be killed: a small shell waits for this process to go.
    fn stop_with_this_process(&self) -> anyhow::Result<()> {
        let script = format!(
            "while [ -d /proc/{} ]; do sleep 1; done; {} -D {} -m immediate stop; rm -rf {}",
            std::process::id(),
            text(&self.binaries.join("pg_ctl")),
            text(&self.data()),
            text(self.folder.path()),
        );
        as_postgres("sh", &["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("a shell cannot be started")?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        if let Err(error) = self.run("pg_ctl", &["-D", text(&data), "-m", "immediate", "-w", "stop"]) {
            eprintln!("{error:#}");
        }
    }
}

fn as_postgres(program: &str, arguments: &[&str]) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
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
        std::env::split_paths(&path).find(|folder: &PathBuf| Path::new(folder).join("initdb").exists())
    };
    newest.or_else(on_path).context("PostgreSQL is not installed; `make test` installs it")
}

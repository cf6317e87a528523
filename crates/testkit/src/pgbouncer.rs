//! A real PgBouncer in front of a PostgreSQL.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{
    PATIENCE,
    process::{Process, free_port, text},
};

/// A running PgBouncer; stopped when dropped.
#[derive(Debug)]
pub struct Pgbouncer {
    /// The URL of the database through it.
    pub url: String,
    _process: Process,
    _folder: TempDir,
}

impl Pgbouncer {
    /// Starts it in front of a database, with a `pool_mode`.
    pub async fn start(url: &str, mode: &str) -> anyhow::Result<Self> {
        let (user, rest) =
            url.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).context("is no URL")?;
        let (address, database) = rest.split_once('/').context("names no database")?;
        let (host, port) = address.rsplit_once(':').context("has no port")?;
        let folder = TempDir::new()?;
        // Started as root, it switches to another user, who must read this.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let listen = free_port()?;
        let config = folder.path().join("pgbouncer.ini");
        let users = folder.path().join("users");
        fs::write(&users, format!("\"{user}\" \"\"\n"))?;
        fs::write(
            &config,
            format!(
                "[databases]\n{database} = host={host} port={port} dbname={database} user={user}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {listen}\nunix_socket_dir =\nauth_type = trust\n\
                 auth_file = {}\npool_mode = {mode}\nignore_startup_parameters = extra_float_digits,options\n",
                text(&users)
            ),
        )?;
        let mut arguments = vec![text(&config)];
        if fs::metadata("/proc/self")?.uid() == 0 {
            arguments.extend(["-u", "nobody"]);
        }
        let mut process = Process::start("pgbouncer", &arguments)?;
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", listen)).is_err() {
            if !process.is_running() || started.elapsed() > PATIENCE {
                bail!("PgBouncer does not start: {:?}", process.wait(PATIENCE).await?);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { url: format!("postgres://{user}@127.0.0.1:{listen}/{database}"), _process: process, _folder: folder })
    }
}

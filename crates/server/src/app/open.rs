//! Opens the data directory, the ports and the database before the server starts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gostream_engine::Ports;
use gostream_store::{Keyring, Listener, NodeLock, Notifier, Store, backup, missing_file};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use tokio::{net::TcpListener, time::Instant};

use super::error::StartError;
use crate::{
    config::{SecretKey, SecretKeySource, Settings},
    data_dir::{self, DirectoryLock, KeyFile, LOCK_TIMEOUT},
    database_health,
};

/// How long to wait for another server with this node id. It exceeds the duration of a stop, and the time after which a
/// vanished machine counts as stopped.
const NODE_TIMEOUT: Duration = Duration::from_secs(40);
/// The interval at which to check whether that server still writes.
const NODE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Opens the database as the server does. Commands that change accounts use it, too.
pub async fn open_store(settings: &Settings) -> Result<(Store, SecretKey), StartError> {
    data_dir::prepare(&settings.data_dir)?;
    let url = settings.database_url.expose_secret();
    let own = KeyFile::of(settings).filter(|_| matches!(settings.secret_key, SecretKeySource::DataDir));
    let had_one = own.as_ref().map_or(Ok(false), KeyFile::exists)?;
    let secret = data_dir::secret_key(settings)?;
    if let Some(file) = own.as_ref().filter(|_| had_one)
        && let Some(path) = missing_file(url)
    {
        return Err(StartError::NoDatabase { path, key: file.path.clone() });
    }
    data_dir::require_newest(settings).await?;
    let keyring = Keyring::new(secret.0);
    // A key file means that there was a database. An empty one would open sign-up again.
    let opened = match had_one && url.starts_with("sqlite:") {
        true => Store::open_existing(url, keyring).await,
        false => Store::open(url, keyring).await,
    };
    let opened = match opened {
        Err(gostream_store::Error::Empty) => {
            let (path, key) = (backup::file(url).ok(), own.map(|file| file.path));
            return Err(StartError::NoDatabase { path: path.unwrap_or_default(), key: key.unwrap_or_default() });
        }
        Err(gostream_store::Error::WrongSecretKey) => open_after_rotation(settings, secret).await?,
        opened => (opened?, secret),
    };
    if let Some(file) = own {
        file.adopt_first()?;
    }
    Ok(opened)
}

/// The key in the file does not open the database, but the one beside it may: `gostream secret rotate` was interrupted,
/// or it finished while this process waited for the database and holds the previous key.
async fn open_after_rotation(settings: &Settings, tried: SecretKey) -> Result<(Store, SecretKey), StartError> {
    let wrong = || StartError::from(gostream_store::Error::WrongSecretKey);
    let file = KeyFile::of(settings).ok_or_else(wrong)?;
    if !file.exists()? {
        return Err(wrong());
    }
    let (present, new) = (file.read()?, file.read_new()?);
    let interrupted = present == tried;
    let key = if interrupted { new.ok_or_else(wrong)? } else { present };
    let store = Store::open(settings.database_url.expose_secret(), Keyring::new(key.0)).await?;
    if interrupted {
        tracing::warn!("Replacing the secret key had been interrupted; it is complete now.");
        file.adopt(&tried)?;
    }
    Ok((store, key))
}

/// What the server needs before it starts.
pub(super) struct Opened {
    pub(super) directory_lock: Arc<DirectoryLock>,
    pub(super) http: (TcpListener, SocketAddr),
    pub(super) metrics: Option<(TcpListener, SocketAddr)>,
    pub(super) ports: Ports,
    pub(super) store: Store,
    pub(super) secret: SecretKey,
    pub(super) node: String,
    pub(super) resources: TaskResources,
}

/// Resources that only this server uses while it runs.
pub(super) struct TaskResources {
    pub(super) store: Store,
    pub(super) directory_lock: Arc<DirectoryLock>,
    pub(super) file: Option<database_health::DatabaseFile>,
    pub(super) lock: Option<NodeLock>,
    /// The notifications between servers, if others may share the database.
    pub(super) ends: Option<(Notifier, Listener)>,
}

impl Opened {
    /// Locks the directory and binds the ports before it changes rows: a server that cannot run must not disturb one
    /// that does.
    pub(super) async fn open(settings: &Settings) -> Result<Self, StartError> {
        data_dir::prepare(&settings.data_dir)?;
        let directory_lock = Arc::new(data_dir::lock(&settings.data_dir, LOCK_TIMEOUT).await?);
        let http = bind("http.listen", settings.http_listen)?;
        let metrics = settings.metrics_listen.map(|address| bind("metrics.listen", address)).transpose()?;
        let ports = Ports::bind(settings.rtmp_listen, settings.rtmps_listen.filter(|_| settings.tls.is_some()))?;
        let (store, secret) = open_store(settings).await?;
        let (node, lock) = take_over(&store, settings).await?;
        let file = database_health::DatabaseFile::of(settings.database_url.expose_secret());
        let ends = store.notifications(settings.database_url.expose_secret())?;
        let resources =
            TaskResources { store: store.clone(), directory_lock: directory_lock.clone(), file, lock, ends };
        Ok(Self { directory_lock, http, metrics, ports, store, secret, node, resources })
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { setting, address, source };
    let listener = gostream_net::listen(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Fails if a server with this node id still runs. It may have lost only its connection to the database; a running
/// server writes periodically.
async fn ensure_stopped(store: &Store, node: &str) -> Result<(), StartError> {
    let Some(seen_at) = store.seen_at(node).await? else { return Ok(()) };
    let deadline = Instant::now() + database_health::STOPPED_AFTER;
    while Instant::now() < deadline {
        tokio::time::sleep(NODE_CHECK_INTERVAL).await;
        if store.seen_at(node).await? != Some(seen_at) {
            return Err(gostream_store::Error::NodeInUse.into());
        }
    }
    Ok(())
}

/// This server's node id, which no other server uses. Closes the streams that a killed server left open.
async fn take_over(store: &Store, settings: &Settings) -> Result<(String, Option<NodeLock>), StartError> {
    let node = data_dir::node_id(&settings.data_dir)?;
    let lock = NodeLock::take(settings.database_url.expose_secret(), &node, NODE_TIMEOUT).await?;
    if lock.as_ref().is_some_and(NodeLock::had_to_wait) {
        ensure_stopped(store, &node).await?;
    }
    let abandoned = store.close_abandoned_streams(&node, OffsetDateTime::now_utc()).await?;
    if abandoned > 0 {
        tracing::warn!(abandoned, "The server did not stop cleanly; its streams were closed.");
    }
    Ok((node, lock))
}

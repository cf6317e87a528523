//! Notifications between the servers of one PostgreSQL, by LISTEN and NOTIFY. They carry nothing that is not in the rows, so one
//! that is lost costs only the time until rows are next read.

use std::{collections::VecDeque, fmt, time::Duration};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use super::{handle::Store, timeouts::ACQUIRE_TIMEOUT};
use crate::error::{Cause, Error};

/// The PostgreSQL channel.
const CHANNEL: &str = "gostream";
/// The most notifications in a payload. A payload is shorter than 8000 bytes (PostgreSQL, NOTIFY): a sender and this
/// many words of at most 38 characters fit.
const WORDS_MAX: usize = 200;
/// The interval of liveness checks of an idle connection. A connection whose peer vanished reports no error by itself.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long the database may take to reply, and a notification to arrive.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause between two attempts to listen again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The pause doubles up to this value.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The payload that a server sends to itself to check that notifications arrive.
const HELLO: &str = "hello";

/// A change that other servers should read from the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notification {
    /// Rows of this project or of its destinations changed.
    Project(Uuid),
    /// The stream of this project started, ended, or changed its status in the history.
    History(Uuid),
    /// Sessions or tokens ended.
    Sessions,
    /// There are commands for streams that run on other servers.
    Commands,
}

/// An event of a [`Listener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerEvent {
    /// A notification that another server sent.
    Notification(Notification),
    /// The listener is connected from now on. Earlier notifications may have been lost.
    Listening,
}

/// Sends notifications to the other servers.
#[derive(Clone, Debug)]
pub struct Notifier {
    connection: DatabaseConnection,
    /// The id of this server. A server ignores its own notifications.
    sender: Uuid,
}

/// Receives the notifications of other servers over a connection of its own.
pub struct Listener {
    options: PgConnectOptions,
    notifier: Notifier,
    session: Option<PgListener>,
    event: VecDeque<Notification>,
    /// The pause before the next attempt; zero before the first one.
    pause: Duration,
    /// Whether the last attempt failed. Its failure was logged.
    is_failing: bool,
}

/// Omits the connection options, which hold a password.
impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Notification {
    /// The notification as a word of a payload.
    fn word(self) -> String {
        match self {
            Self::Project(id) => format!("p{}", id.simple()),
            Self::History(id) => format!("h{}", id.simple()),
            Self::Sessions => "sessions".to_owned(),
            Self::Commands => "commands".to_owned(),
        }
    }

    /// The notification of a word; `None` for a word that a newer version sends.
    fn parse(word: &str) -> Option<Self> {
        match word {
            "sessions" => Some(Self::Sessions),
            "commands" => Some(Self::Commands),
            word => {
                let (kind, id) = word.split_at_checked(1)?;
                let id = Uuid::try_parse(id).ok()?;
                match kind {
                    "p" => Some(Self::Project(id)),
                    "h" => Some(Self::History(id)),
                    _ => None,
                }
            }
        }
    }
}

impl Store {
    /// The sender and the receiver of notifications between servers; `None` on SQLite, where there is only one server.
    /// `url` is the URL that the store was opened with.
    pub fn notifications(&self, url: &str) -> Result<Option<(Notifier, Listener)>, Error> {
        if !self.is_shared() {
            return Ok(None);
        }
        let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
        let notifier = Notifier { connection: self.reader().clone(), sender: Uuid::new_v4() };
        Ok(Some((notifier.clone(), Listener::new(options, notifier))))
    }
}

impl Notifier {
    /// Sends notifications to every other server that listens. They are lost if sending fails.
    pub async fn notify(&self, notifications: impl IntoIterator<Item = Notification>) -> Result<(), Error> {
        let words: Vec<_> = notifications.into_iter().map(Notification::word).collect();
        for words in words.chunks(WORDS_MAX) {
            self.send(&words.join(" ")).await?;
        }
        Ok(())
    }

    async fn send(&self, words: &str) -> Result<(), Error> {
        let payload = format!("{} {words}", self.sender.simple());
        let values = [CHANNEL.to_owned().into(), payload.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_notify($1, $2)", values);
        self.connection.execute_raw(statement).await.map(drop).map_err(Error::writing("The notification"))
    }
}

impl Listener {
    fn new(options: PgConnectOptions, notifier: Notifier) -> Self {
        let options = options.application_name("gostream-listener");
        Self { options, notifier, session: None, event: VecDeque::new(), pause: Duration::ZERO, is_failing: false }
    }

    /// The next notification of another server. After a lost connection it pauses and listens again; callers poll the
    /// rows until then.
    pub async fn next(&mut self) -> ListenerEvent {
        loop {
            if let Some(notification) = self.event.pop_front() {
                return ListenerEvent::Notification(notification);
            }
            let Some(session) = &mut self.session else {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).clamp(RETRY_PAUSE, RETRY_PAUSE_MAX);
                match self.open().await {
                    Ok(()) => {
                        self.pause = Duration::ZERO;
                        if std::mem::take(&mut self.is_failing) {
                            tracing::info!("Notifications from other servers arrive again.");
                        }
                        return ListenerEvent::Listening;
                    }
                    Err(error) => self.lost(&error),
                }
                continue;
            };
            match timeout(CHECK_INTERVAL, session.try_recv()).await {
                Ok(Ok(Some(notification))) => drop(self.read(notification.payload())),
                Ok(Ok(None)) => self.lost("the connection was closed"),
                Ok(Err(error)) => self.lost(&Cause::from(error)),
                Err(_) => match timeout(REPLY_TIMEOUT, session.execute("SELECT 1")).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => self.lost(&Cause::from(error)),
                    Err(_) => self.lost("the database does not answer"),
                },
            }
        }
    }

    /// Connects, and checks that notifications from other connections arrive. They do not through a pooler that assigns
    /// a session per transaction.
    async fn open(&mut self) -> Result<(), Error> {
        let failed = |error: sqlx::Error| Error::Connect(Cause::from(error));
        let opened = async {
            // PgListener requires a pool and holds one connection of it for its whole life.
            let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
            let pool = pool.acquire_timeout(ACQUIRE_TIMEOUT).connect_with(self.options.clone()).await?;
            let mut session = PgListener::connect_with(&pool).await?;
            // A lost connection must be reported here and not be replaced silently.
            session.eager_reconnect(false);
            session.listen(CHANNEL).await.map(|()| session)
        };
        let opened = timeout(ACQUIRE_TIMEOUT, opened).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let mut session = opened.map_err(failed)?;
        timeout(REPLY_TIMEOUT, self.notifier.send(HELLO)).await.map_err(|_| Error::Deaf)??;
        let deadline = Instant::now() + REPLY_TIMEOUT;
        loop {
            match timeout_at(deadline, session.try_recv()).await.map_err(|_| Error::Deaf)?.map_err(failed)? {
                Some(notification) if self.read(notification.payload()) => break,
                Some(_) => {}
                None => return Err(Error::Deaf),
            }
        }
        self.session = Some(session);
        Ok(())
    }

    /// Stores a notification of another server. Returns whether it was this server's own check.
    fn read(&mut self, payload: &str) -> bool {
        let mut words = payload.split(' ');
        if words.next().and_then(|word| Uuid::try_parse(word).ok()) == Some(self.notifier.sender) {
            return words.next() == Some(HELLO);
        }
        self.event.extend(words.filter_map(Notification::parse));
        false
    }

    /// Logs an outage once.
    fn lost(&mut self, why: &(impl fmt::Display + ?Sized)) {
        self.session = None;
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(error = %why, "Cannot listen to PostgreSQL: changes made through other servers are found by polling.");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use gostream_testkit::{pgbouncer::Pgbouncer, postgres::Postgres};
    use sqlx::postgres::PgPool;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("is whole").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn notifier(url: &str) -> Notifier {
        let pool = PgPool::connect(url).await.expect("connects");
        let connection = sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        Notifier { connection, sender: Uuid::new_v4() }
    }

    #[test]
    fn words_round_trip_and_unknown_words_are_skipped() {
        let id = Uuid::new_v4();
        for notification in
            [Notification::Project(id), Notification::History(id), Notification::Sessions, Notification::Commands]
        {
            assert_eq!(Notification::parse(&notification.word()), Some(notification));
            assert!((notification.word().len() + 1) * WORDS_MAX + 33 < 8000);
        }
        assert_eq!(["", "p", "pause", HELLO].map(Notification::parse), [None; 4]);
    }

    /// A transaction pooler accepts LISTEN but delivers no notifications.
    #[tokio::test]
    async fn listener_behind_a_transaction_pooler_reports_that_it_is_deaf() {
        let url = Postgres::shared().database();
        let notifier = notifier(&url).await;
        for (mode, hears) in [("transaction", false), ("session", true)] {
            let pooler = Pgbouncer::start(&url, mode).await.expect("starts");
            let mut listener = Listener::new(pooler.url.parse().expect("is one"), notifier.clone());
            let opened = listener.open().await;
            assert!(if hears { opened.is_ok() } else { matches!(opened, Err(Error::Deaf)) }, "{mode}: {opened:?}");
        }
    }

    #[tokio::test]
    async fn an_outage_is_logged_once_and_its_end_once() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let url = Postgres::shared().database();
        let mut listener = Listener::new(url.parse().expect("is one"), notifier(&url).await);
        assert_eq!(listener.next().await, ListenerEvent::Listening);
        for attempt in ["first", "second", "third"] {
            listener.lost(attempt);
        }
        assert_eq!(listener.next().await, ListenerEvent::Listening);
        let text = String::from_utf8(log.0.lock().expect("is whole").clone()).expect("is text");
        let ours: Vec<_> = text.lines().filter(|line| line.contains("other servers")).collect();
        assert_eq!(ours.len(), 2, "{text}");
        assert!(ours[0].contains("WARN") && ours[0].contains("first") && ours[1].contains("INFO"), "{text}");
    }
}

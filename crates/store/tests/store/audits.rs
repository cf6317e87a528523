//! The audit log: each change has a line in the same transaction. Quotas are counted in that transaction, too.

use std::pin::pin;

use futures::{future::join_all, poll};
use gostream_store::{
    Action, AuditEntry, DestinationChange, Error, FieldChange, NewDestination, NewSession, NewToken, Revoke, Scope,
    Store,
};
use sea_orm::{ConnectionTrait as _, Statement};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::backend::{Backend, column, execute, new_destination, project, renamed, user};

/// More polls than the longest call needs, so that calls are dropped at each of their steps.
const DROPS: usize = 120;
const AT_ONCE: usize = 100;
const TOKEN: NewToken<'static> = NewToken { name: "Stream deck", scope: Scope::Full, expires_at: None };

fn tomorrow() -> NewSession<'static> {
    NewSession { expires_at: OffsetDateTime::now_utc() + Duration::DAY, agent: Some("Me") }
}

fn change(field: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange { field: field.to_owned(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
}

async fn lines(store: &Store, user: Uuid) -> Vec<AuditEntry> {
    store.audit(user, 10_000).await.unwrap()
}

fn actions(lines: &[AuditEntry]) -> Vec<&str> {
    lines.iter().map(|line| line.action.as_str()).collect()
}

pub async fn every_change_is_audited_with_old_and_new_values(db: &Backend) {
    let store = db.open().await.acting_from(Some("203.0.113.7".parse().unwrap()));
    let (owner, made) = project(&store).await;
    store.change_project(owner.id, made.id, renamed("Evening service")).await.unwrap();
    store.change_project(owner.id, made.id, renamed("Evening service")).await.unwrap();
    let destination = store.add_destination(owner.id, made.id, new_destination("Main", "key-1")).await.unwrap();
    let both = DestinationChange {
        rtmp_url: Some("rtmp://me:hunter2@b.example/app".to_owned()),
        stream_key: Some("key-2".into()),
        ..Default::default()
    };
    store.change_destination(owner.id, destination.id, both).await.unwrap();
    let off = || DestinationChange { enabled: Some(false), ..Default::default() };
    store.change_destination(owner.id, destination.id, off()).await.unwrap();
    store.change_destination(owner.id, destination.id, off()).await.unwrap();
    let login = DestinationChange { rtmp_url: Some("rtmp://me:hunter3@b.example/app".to_owned()), ..off() };
    store.change_destination(owner.id, destination.id, login).await.unwrap();
    store.rotate_stream_key(owner.id, made.id).await.unwrap();
    store.delete_destination(owner.id, destination.id).await.unwrap();
    store.delete_project(owner.id, made.id).await.unwrap();
    let first = store.start_session(&owner, tomorrow()).await.unwrap();
    let (token, _) = store.add_token(owner.id, first.id, TOKEN, 9).await.unwrap();
    store.delete_token(owner.id, token.id).await.unwrap();
    store.end_session_of(owner.id, first.id).await.unwrap();
    store.set_password(owner.id, "other", None, Revoke::SESSIONS).await.unwrap();

    let lines = lines(&store, owner.id).await;
    assert_eq!(
        actions(&lines),
        [
            "password_changed",
            "session_ended",
            "token_deleted",
            "token_created",
            "login",
            "project_deleted",
            "destination_deleted",
            "stream_key_rotated",
            "destination_changed",
            "relay_stopped",
            "destination_changed",
            "destination_added",
            "project_changed",
            "project_created",
            "account_added",
        ],
        "a change without effect is not recorded"
    );
    assert!(lines.iter().all(|line| line.address.as_deref() == Some("203.0.113.7") && line.count == 1));
    assert_eq!(lines[2].object.as_deref(), Some("Stream deck"));
    assert_eq!(lines[8].changes, [change("rtmpUrl", Some("****"), Some("****"))]);
    assert_eq!(lines[9].changes, [change("enabled", Some("true"), Some("false"))]);
    assert_eq!(
        lines[10].changes,
        [
            change("rtmpUrl", Some("rtmp://live.twitch.tv/app"), Some("rtmp://****@b.example/app")),
            change("streamKey", Some("****"), Some("****")),
        ]
    );
    assert_eq!(lines[12].changes, [change("name", Some("Sunday service"), Some("Evening service"))]);
    let all = format!("{lines:?}");
    assert!(!all.contains("key-") && !all.contains("hunter"), "{all}");
    store.close().await;
}

pub async fn a_change_and_its_audit_line_are_atomic(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let login = store.start_session(&owner, tomorrow()).await.unwrap().id;
    let (account, owner, destination) =
        (owner.clone(), owner.id, store.add_destination(owner.id, made.id, new_destination("d", "k")).await.unwrap());
    let other = db.open().await;
    let mut changed = 0;
    for polls in 0..DROPS {
        let name = format!("n{polls}");
        let change = DestinationChange { name: Some(name.clone()), ..Default::default() };
        {
            let mut call = pin!(store.change_destination(owner, destination.id, change));
            for _ in 0..polls {
                if poll!(call.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // The next write waits until the dropped one is over.
        let token = other.add_token(owner, login, TOKEN, 9).await.unwrap().0;
        other.delete_token(owner, token.id).await.unwrap();
        let is = other.destination(owner, destination.id).await.unwrap().unwrap().name == name;
        let is_written = lines(&other, owner).await.iter().any(|line| line.object.as_deref() == Some(name.as_str()));
        assert_eq!(is, is_written, "dropped after {polls} steps");
        changed += usize::from(is);
    }
    assert!(changed < DROPS, "some calls were dropped before they finished");

    // If the audit line cannot be written, nothing is changed.
    let raw = db.raw().await;
    execute(&raw, "ALTER TABLE audit RENAME TO elsewhere").await;
    let session = store.start_session(&account, tomorrow()).await;
    assert!(matches!(session, Err(Error::Write { .. })), "{session:?}");
    store.set_password(owner, "other", None, Revoke::SESSIONS).await.unwrap_err();
    store.change_project(owner, made.id, renamed("another")).await.unwrap_err();
    store.rotate_stream_key(owner, made.id).await.unwrap_err();
    store.delete_destination(owner, destination.id).await.unwrap_err();
    store.delete_project(owner, made.id).await.unwrap_err();
    store.add_project(owner, "one more").await.unwrap_err();
    store.add_destination(owner, made.id, new_destination("e", "k")).await.unwrap_err();
    store.add_token(owner, login, TOKEN, 9).await.unwrap_err();
    store.add_user("nobody@example.org", "hash").await.unwrap_err();
    assert!(store.credentials("nobody@example.org").await.unwrap().is_none());
    assert_eq!(store.sessions(owner).await.unwrap().len(), 1, "the previous session");
    assert!(store.tokens(owner).await.unwrap().is_empty());
    assert_eq!(store.projects(owner).await.unwrap().len(), 1);
    assert_eq!(store.project(owner, made.id).await.unwrap().unwrap().name, "Sunday service");
    assert_eq!(store.destinations(made.id).await.unwrap().len(), 1);
    execute(&raw, "ALTER TABLE elsewhere RENAME TO audit").await;
    raw.close().await.unwrap();
    for store in [store, other] {
        store.close().await;
    }
}

pub async fn failed_logins_are_counted_and_displace_no_other_lines(db: &Backend) {
    let store = db.open().await;
    let (owner, _) = project(&store).await;
    let from = |n: u32| store.acting_from(Some(std::net::Ipv4Addr::from_bits(0xC633_6400 + n).into()));
    for _ in 0..5 {
        from(1).add_login_failure(owner.id).await.unwrap();
    }
    for n in 2..40 {
        from(n).add_login_failure(owner.id).await.unwrap();
    }
    let lines = store.audit(owner.id, 2).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.action != "login_failed").count(), 2, "the owner's lines remain");
    let failures: Vec<_> = lines.iter().filter(|line| line.action == "login_failed").collect();
    assert_eq!(failures.len(), 9, "eight addresses, and one line for all others");
    assert_eq!(failures.iter().map(|line| line.count).sum::<u64>(), 43);
    assert!(failures.iter().any(|line| line.address.as_deref() == Some("198.51.100.1") && line.count == 5));
    assert!(failures.iter().any(|line| line.address.is_none() && line.count == 31));
    assert!(matches!(store.add_login_failure(Uuid::new_v4()).await, Err(Error::NotFound)));

    // The line of an hour ends after it, however late its last failure was.
    let raw = db.raw().await;
    let earlier = Uuid::from_u128(Uuid::now_v7().as_u128() - ((61 * 60 * 1_000) << 80));
    let sql = "UPDATE audit SET id = $1 WHERE address = '198.51.100.1'";
    let backend = raw.get_database_backend();
    raw.execute_raw(Statement::from_sql_and_values(backend, sql, [earlier.into()])).await.unwrap();
    raw.close().await.unwrap();
    for _ in 0..3 {
        from(1).add_login_failure(owner.id).await.unwrap();
    }
    let lines = store.audit(owner.id, 2).await.unwrap();
    let count = |address| lines.iter().find(|line| line.address.as_deref() == address).map(|line| line.count);
    assert_eq!((count(Some("198.51.100.1")), count(None)), (Some(5), Some(34)), "the new hour has lines of its own");
    store.close().await;
}

/// The newest 2,000 lines are kept, plus those since the last deletion.
pub async fn endless_changes_are_bounded_and_displace_no_logins(db: &Backend) {
    const CHANGES: usize = 3_500;
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    store.start_session(&owner, tomorrow()).await.unwrap();
    store.change_project(owner.id, made.id, renamed(&"ä".repeat(100_000))).await.unwrap();
    let [changed, login, ..] = &lines(&store, owner.id).await[..] else { panic!("are there") };
    assert_eq!((changed.action.as_str(), login.action.as_str()), ("project_changed", "login"));
    let longest = Some(format!("{}…", "ä".repeat(200)));
    assert_eq!((&changed.changes[0].new, &changed.object), (&longest, &longest));

    let other = user(&store).await;
    for n in 0..CHANGES {
        store.add_audit(owner.id, Action::RelayRetried, Some(n.to_string())).await.unwrap();
    }
    let kept = lines(&store, owner.id).await;
    assert!((2_000..3_200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0].object.as_deref(), Some("3499"));
    assert_eq!(actions(&kept[kept.len() - 2..]), ["login", "account_added"]);
    assert_eq!(store.audit(owner.id, 10).await.unwrap().len(), 12, "ten changes and the access lines");
    assert_eq!(actions(&lines(&store, other.id).await), ["account_added"]);
    store.close().await;
}

pub async fn a_quota_holds_under_concurrent_calls(db: &Backend) {
    const QUOTA: u64 = 5;
    let stores = [db.open().await, db.open().await];
    let owner = user(&stores[0]).await.id;
    let made = join_all((0..AT_ONCE).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { store.add_project_within(owner, "p", QUOTA).await })
    }));
    let made: Vec<_> = made.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(made.iter().filter(|made| made.is_ok()).count() as u64, QUOTA);
    assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(Error::Quota))), "{made:?}");
    assert_eq!(stores[0].projects(owner).await.unwrap().len() as u64, QUOTA);

    let project = made.into_iter().find_map(Result::ok).unwrap().id;
    let added = join_all((0..AT_ONCE).map(|n| {
        let store = stores[n % 2].clone();
        let new = new_destination("d", "k");
        tokio::spawn(async move { store.add_destination_within(owner, project, new, QUOTA).await })
    }));
    let added: Vec<_> = added.await.into_iter().map(Result::unwrap).collect();
    assert!(added.iter().all(|added| matches!(added, Ok(_) | Err(Error::Quota))), "{added:?}");
    assert_eq!(stores[0].destinations(project).await.unwrap().len() as u64, QUOTA);
    for store in stores {
        store.close().await;
    }
}

/// The content of the URL columns.
async fn urls(db: &Backend) -> Vec<String> {
    let raw = db.raw().await;
    let mut all = Vec::new();
    for (table, name) in [("destinations", "rtmp_url"), ("destinations", "backup_url"), ("projects", "pull_url")] {
        let bytes = if db.folder.is_some() { format!("CAST({name} AS BLOB)") } else { format!("{name}::bytea") };
        all.extend(column(&raw, table, &bytes).await.into_iter().map(|url| String::from_utf8(url).unwrap()));
    }
    raw.close().await.unwrap();
    all
}

pub async fn logins_in_urls_are_sealed(db: &Backend) {
    use secrecy::ExposeSecret as _;

    let store = db.open().await;
    let owner = user(&store).await.id;
    let pulled = gostream_store::NewProject { name: "p".to_owned(), pull_url: Some("rtmp://p:hunter1@h/live".into()) };
    let made = store.add_project(owner, pulled).await.unwrap();
    let new = NewDestination {
        rtmp_url: "rtmp://d:hunter2@h/app".to_owned(),
        backup_url: Some("rtmp://b:hunter3@h/app?a@b".to_owned()),
        ..new_destination("d", "k")
    };
    let destination = store.add_destination(owner, made.id, new).await.unwrap();
    let dialed = async |store: &Store| {
        let project = store.project(owner, made.id).await.unwrap().unwrap();
        let row = store.destination(owner, destination.id).await.unwrap().unwrap();
        let shown = format!("{project:?} {row:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        [Some(row.server()), row.backup_server(), project.pull_server()]
            .map(|url| url.unwrap().expose_secret().to_owned())
    };
    let all = ["rtmp://d:hunter2@h/app", "rtmp://b:hunter3@h/app?a@b", "rtmp://p:hunter1@h/live"];
    assert_eq!(dialed(&store).await, all);
    let masked = ["rtmp://****@h/app", "rtmp://****@h/app?a@b", "rtmp://****@h/live"];
    assert_eq!(urls(db).await, masked);

    // Saving the masked URL keeps the login.
    let same = DestinationChange { rtmp_url: Some("rtmp://****@h/other".to_owned()), ..Default::default() };
    let kept = store.change_destination(owner, destination.id, same).await.unwrap();
    assert_eq!(
        (kept.rtmp_url.as_str(), kept.server().expose_secret()),
        ("rtmp://****@h/other", "rtmp://d:hunter2@h/other")
    );
    let back = DestinationChange { rtmp_url: Some("rtmp://****@h/app".to_owned()), ..Default::default() };
    store.change_destination(owner, destination.id, back).await.unwrap();
    store.close().await;

    // The state that an earlier version left.
    let raw = db.raw().await;
    execute(&raw, "UPDATE destinations SET rtmp_url = 'rtmp://d:hunter2@h/app', rtmp_login = NULL").await;
    execute(&raw, "UPDATE destinations SET backup_url = 'rtmp://b:hunter3@h/app?a@b', backup_login = NULL").await;
    execute(&raw, "UPDATE projects SET pull_url = 'rtmp://p:hunter1@h/live', pull_login = NULL").await;
    raw.close().await.unwrap();
    let store = db.open().await;
    assert_eq!(dialed(&store).await, all);
    store.close().await;
    assert_eq!(urls(db).await, masked);
    let Some(folder) = &db.folder else { return };
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"hunter"), "it does not remain in a free page of the file");
    }
}

//! Revoking access to an account, also while logins are in progress.

use futures::future::{join, join_all};
use gostream_store::{Action, Error, NewSession, NewToken, Revoke, SESSIONS_MAX, Scope, Store, User};
use secrecy::ExposeSecret as _;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::backend::{Backend, execute, login, project, user};

const ALL: Revoke = Revoke { tokens: true, stream_keys: true };
const TOKEN: NewToken<'static> = NewToken { name: "Stream deck", scope: Scope::Full, expires_at: None };

fn later() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::HOUR
}

async fn session(store: &Store, user: &User) -> Uuid {
    store.start_session(user, login(later())).await.unwrap().id
}

pub async fn a_login_checked_before_a_revocation_fails(db: &Backend) {
    let store = db.open().await;
    let checked = user(&store).await;
    let signed_out = store.end_sessions(checked.id, Revoke::SESSIONS).await.unwrap().user;
    assert!(matches!(store.start_session(&checked, login(later())).await, Err(Error::LoginsEnded)));
    session(&store, &signed_out).await;

    // The intruder's password change was in progress when the owner's finished first.
    let renewed = store.set_password(checked.id, "owner", Some(&signed_out), Revoke::SESSIONS).await.unwrap().user;
    let intruder = store.set_password(checked.id, "intruder", Some(&signed_out), Revoke::SESSIONS).await;
    assert!(matches!(intruder, Err(Error::LoginsEnded)), "{intruder:?}");
    assert_eq!(store.credentials(&checked.email).await.unwrap().unwrap().password_hash, "owner");
    assert!(matches!(store.start_session(&signed_out, login(later())).await, Err(Error::LoginsEnded)));
    session(&store, &renewed).await;

    // The command line is not checked against a login version.
    store.set_password(checked.id, "operator", None, Revoke::SESSIONS).await.unwrap();
    assert!(matches!(store.start_session(&renewed, login(later())).await, Err(Error::LoginsEnded)));
    assert_eq!(store.sessions(checked.id).await.unwrap(), []);
    store.close().await;
}

/// In either order: an earlier session is deleted, a later one refused.
pub async fn logins_racing_with_a_revocation_leave_no_session(db: &Backend) {
    let (one, two) = (db.open().await, db.open().await);
    let mut account = user(&one).await;
    for _ in 0..5 {
        let logins = (0..12).map(|n| {
            let store = if n % 2 == 0 { &one } else { &two };
            store.start_session(&account, login(later()))
        });
        let (_, ended) = join(join_all(logins), two.end_sessions(account.id, Revoke::SESSIONS)).await;
        account = ended.unwrap().user;
        assert_eq!(one.sessions(account.id).await.unwrap(), []);
    }
    one.close().await;
    two.close().await;
}

pub async fn a_session_shows_where_it_is_used(db: &Backend) {
    let store = db.open().await;
    let owner = user(&store).await;
    let new = NewSession { agent: Some("curl"), ..login(later()) };
    let made = store.acting_from(Some("192.0.2.1".parse().unwrap())).start_session(&owner, new).await.unwrap();
    assert_eq!((made.address.as_deref(), made.last_seen_at), (Some("192.0.2.1"), Some(made.created_at)));
    assert_eq!(store.use_session(made.id, Some("192.0.2.9")).await.unwrap(), Some(owner.clone()));
    assert_eq!(store.sessions(owner.id).await.unwrap(), std::slice::from_ref(&made), "recorded once a minute");

    let raw = db.raw().await;
    execute(&raw, "UPDATE sessions SET last_seen_at = last_seen_at - 61000").await;
    assert_eq!(store.use_session(made.id, Some("192.0.2.9")).await.unwrap(), Some(owner.clone()));
    let [seen] = store.sessions(owner.id).await.unwrap().try_into().unwrap();
    assert_eq!(seen.address.as_deref(), Some("192.0.2.9"));
    assert!(seen.last_seen_at >= made.last_seen_at);

    // A session of a version that recorded neither.
    execute(&raw, "UPDATE sessions SET last_seen_at = NULL, address = NULL").await;
    assert_eq!(store.use_session(made.id, None).await.unwrap(), Some(owner.clone()));
    let [seen] = store.sessions(owner.id).await.unwrap().try_into().unwrap();
    assert!(seen.address.is_none() && seen.last_seen_at.is_some());
    assert_eq!(store.use_session(Uuid::new_v4(), None).await.unwrap(), None);
    raw.close().await.unwrap();
    store.close().await;
}

pub async fn only_the_newest_sessions_are_kept(db: &Backend) {
    let store = db.open().await;
    let owner = user(&store).await;
    let first = session(&store, &owner).await;
    for _ in 1..SESSIONS_MAX {
        session(&store, &owner).await;
    }
    assert!(store.session_user(first).await.unwrap().is_some());
    let newest = session(&store, &owner).await;
    assert_eq!(store.session_user(first).await.unwrap(), None);
    assert!(store.session_user(newest).await.unwrap().is_some());
    assert_eq!(store.sessions(owner.id).await.unwrap().len() as u64, SESSIONS_MAX);
    store.close().await;
}

pub async fn tokens_have_a_limit_an_expiry_and_a_scope(db: &Backend) {
    let store = db.open().await;
    let owner = user(&store).await;
    let login = session(&store, &owner).await;
    let soon = OffsetDateTime::now_utc() + Duration::HOUR;
    let (made, token) = store
        .add_token(owner.id, login, NewToken { scope: Scope::Read, expires_at: Some(soon), ..TOKEN }, 9)
        .await
        .unwrap();
    assert_eq!((made.scope, made.expires_at), (Scope::Read, Some(soon.truncate_to_millisecond())));
    let (_, found) = store.token_user(token.expose_secret()).await.unwrap().unwrap();
    assert_eq!((found.id, found.scope), (made.id, Scope::Read));

    let raw = db.raw().await;
    execute(&raw, "UPDATE api_tokens SET expires_at = created_at").await;
    assert_eq!(store.token_user(token.expose_secret()).await.unwrap(), None);
    assert!(!store.has_token(owner.id, made.id).await.unwrap());
    assert_eq!(store.tokens(owner.id).await.unwrap(), []);
    raw.close().await.unwrap();

    // Sixteen concurrent calls compete for the free places; an expired token does not count.
    let tries = (0..16).map(|_| store.add_token(owner.id, login, TOKEN, 5));
    let (made, refused): (Vec<_>, Vec<_>) = join_all(tries).await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 5);
    assert!(refused.iter().all(|error| matches!(error, Err(Error::Quota))), "{refused:?}");
    assert_eq!(store.prune_tokens(OffsetDateTime::now_utc()).await.unwrap(), 1);
    assert_eq!(store.tokens(owner.id).await.unwrap().len(), 5);
    store.close().await;
}

pub async fn a_token_needs_a_valid_session(db: &Backend) {
    let store = db.open().await;
    let (owner, other) = (user(&store).await, user(&store).await);
    let foreign = session(&store, &other).await;
    let expired = store.start_session(&owner, login(OffsetDateTime::now_utc() - Duration::SECOND)).await.unwrap().id;
    let ended = session(&store, &owner).await;
    store.end_sessions(owner.id, ALL).await.unwrap();
    for session in [foreign, expired, ended, Uuid::new_v4()] {
        let refused = store.add_token(owner.id, session, TOKEN, 9).await;
        assert!(matches!(refused, Err(Error::LoginsEnded)), "{refused:?}");
    }
    assert_eq!(store.tokens(owner.id).await.unwrap(), []);
    store.close().await;
}

pub async fn tokens_and_stream_keys_end_on_request(db: &Backend) {
    let store = db.open().await;
    let (owner, first) = project(&store).await;
    let second = store.add_project(owner.id, "Evening service").await.unwrap();
    let (_, foreign) = project(&store).await;
    let keys = [&first, &second, &foreign].map(|project| project.stream_key.expose_secret().to_owned());
    let login = session(&store, &owner).await;
    let (_, token) = store.add_token(owner.id, login, TOKEN, 9).await.unwrap();

    let kept = store.set_password(owner.id, "new", None, Revoke::SESSIONS).await.unwrap();
    assert_eq!((kept.tokens, kept.renewed.len()), (0, 0));
    assert!(store.token_user(token.expose_secret()).await.unwrap().is_some());
    assert!(store.project_by_stream_key(&keys[0]).await.unwrap().is_some());

    let revoked = store.end_sessions(owner.id, ALL).await.unwrap();
    assert_eq!((revoked.tokens, revoked.renewed), (1, vec![first.id, second.id]));
    assert_eq!(store.token_user(token.expose_secret()).await.unwrap(), None);
    for old in &keys[..2] {
        assert!(store.project_by_stream_key(old).await.unwrap().is_none());
    }
    let renewed = store.project(owner.id, first.id).await.unwrap().unwrap();
    let found = store.project_by_stream_key(renewed.stream_key.expose_secret()).await.unwrap();
    assert_eq!(found.map(|project| project.id), Some(first.id));
    let untouched = store.project_by_stream_key(&keys[2]).await.unwrap();
    assert_eq!(untouched.map(|project| project.id), Some(foreign.id));
    store.close().await;
}

/// Each kind of access that is revoked has a line, with the client address, or none for the operator.
pub async fn a_revocation_and_its_audit_lines_are_atomic(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let login_id = session(&store, &owner).await;
    let (_, token) = store.add_token(owner.id, login_id, TOKEN, 9).await.unwrap();
    let key = made.stream_key.expose_secret();

    // If a line cannot be written, nothing is revoked.
    let raw = db.raw().await;
    execute(&raw, "ALTER TABLE audit RENAME TO elsewhere").await;
    store.end_sessions(owner.id, ALL).await.unwrap_err();
    store.set_password(owner.id, "new", None, ALL).await.unwrap_err();
    store.change_password(&owner, "new", ALL, login(later())).await.unwrap_err();
    let same = store.credentials(&owner.email).await.unwrap().unwrap();
    assert_eq!((same.password_hash.as_str(), &same.user), ("hash", &owner));
    assert_eq!(store.session_user(login_id).await.unwrap(), Some(owner.clone()));
    assert!(store.token_user(token.expose_secret()).await.unwrap().is_some());
    assert!(store.project_by_stream_key(key).await.unwrap().is_some());
    execute(&raw, "ALTER TABLE elsewhere RENAME TO audit").await;
    raw.close().await.unwrap();

    let lines = async || {
        let lines = store.audit(owner.id, 3).await.unwrap();
        let line = |line: gostream_store::AuditEntry| (line.action, line.object, line.address);
        lines.into_iter().take(3).map(line).collect::<Vec<_>>()
    };
    let line = |action: &str, object: Option<&str>, address: Option<&str>| {
        (action.to_owned(), object.map(str::to_owned), address.map(str::to_owned))
    };
    let client = store.acting_from(Some("203.0.113.7".parse().unwrap()));
    let (revoked, next) = client.change_password(&owner, "new", ALL, login(later())).await.unwrap();
    assert_eq!(store.session_user(next.id).await.unwrap(), Some(revoked.user.clone()));
    assert_eq!(store.sessions(owner.id).await.unwrap(), std::slice::from_ref(&next));
    let from = Some("203.0.113.7");
    assert_eq!(
        lines().await,
        [
            line("stream_keys_renewed", Some("1 projects"), from),
            line("tokens_deleted", Some("1"), from),
            line("password_changed", None, from),
        ]
    );
    let stale = client.change_password(&owner, "newer", ALL, login(later())).await;
    assert!(matches!(stale, Err(Error::LoginsEnded)), "{stale:?}");

    store.add_token(owner.id, next.id, TOKEN, 9).await.unwrap();
    store.end_sessions(owner.id, Revoke { tokens: true, stream_keys: false }).await.unwrap();
    assert_eq!(
        lines().await[..2],
        [line("tokens_deleted", Some("1"), None), line("signed_out_everywhere", None, None)],
        "the operator"
    );
    store.close().await;
}

pub async fn an_account_is_deleted_with_all_its_data(db: &Backend) {
    let store = db.open().await;
    let (owner, made) = project(&store).await;
    let login_id = session(&store, &owner).await;
    let (_, token) = store.add_token(owner.id, login_id, TOKEN, 9).await.unwrap();
    store.add_audit(owner.id, Action::StreamEnded, None).await.unwrap();
    store.remove_user(owner.id).await.unwrap();
    assert_eq!(store.user(owner.id).await.unwrap(), None);
    assert_eq!(store.session_user(login_id).await.unwrap(), None);
    assert_eq!(store.token_user(token.expose_secret()).await.unwrap(), None);
    assert!(store.project_by_id(made.id).await.unwrap().is_none());
    assert!(matches!(store.start_session(&owner, login(later())).await, Err(Error::NotFound)));
    assert!(matches!(store.remove_user(owner.id).await, Err(Error::NotFound)));
    store.close().await;
}

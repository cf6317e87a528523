//! Accounts and sessions.

use futures::future::join_all;
use gostream_store::{Credentials, Error, NewSession, Revoke, User};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::backend::{Backend, login, user};

pub async fn account_lookup_ignores_case_and_spaces(db: &Backend) {
    let store = db.open().await;
    let before = OffsetDateTime::now_utc() - Duration::milliseconds(1);
    let user = store.add_user("  Ada@Example.ORG ", "$2b$12$hash").await.unwrap();
    assert_eq!(user.email, "ada@example.org");
    assert!(user.created_at >= before && user.created_at <= OffsetDateTime::now_utc());
    assert_eq!(user.updated_at, user.created_at);
    assert_eq!(user.id.get_version_num(), 7);

    assert_eq!(store.user(user.id).await.unwrap(), Some(user.clone()));
    let found = store.credentials("ADA@example.org\n").await.unwrap();
    assert_eq!(found, Some(Credentials { user, password_hash: "$2b$12$hash".to_owned() }));

    assert!(matches!(store.add_user("ada@EXAMPLE.org", "other").await, Err(Error::EmailTaken)));
    assert_eq!(store.credentials("eve@example.org").await.unwrap(), None);
    assert_eq!(store.user(Uuid::new_v4()).await.unwrap(), None);
    store.close().await;
}

pub async fn concurrent_sign_ups_create_one_account(db: &Backend) {
    let (one, two) = (db.open().await, db.open().await);
    let tries = (0..16).map(|n| {
        let store = if n % 2 == 0 { &one } else { &two };
        async move { store.add_user(if n % 3 == 0 { "RACE@example.org" } else { "race@example.org" }, "hash").await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(tries).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for error in lost {
        assert!(matches!(error, Err(Error::EmailTaken)), "{error:?}");
    }
    one.close().await;
    two.close().await;
}

pub async fn sessions_end_and_expire(db: &Backend) {
    let store = db.open().await;
    let user = user(&store).await;
    let now = OffsetDateTime::now_utc();
    let (later, earlier) = (now + Duration::hours(1), now - Duration::seconds(1));

    let session = store
        .start_session(&user, NewSession { agent: Some(&"x".repeat(10_000)), ..login(later) })
        .await
        .unwrap();
    assert_eq!((session.user_id, session.expires_at), (user.id, later.truncate_to_millisecond()));
    assert_eq!(store.session_user(session.id).await.unwrap(), Some(user.clone()));
    let expired = store.start_session(&user, login(earlier)).await.unwrap();
    assert_eq!(store.session_user(expired.id).await.unwrap(), None);

    store.end_session(session.id).await.unwrap();
    store.end_session(session.id).await.unwrap();
    assert_eq!(store.session_user(session.id).await.unwrap(), None);

    let current = store.start_session(&user, login(later)).await.unwrap();
    assert_eq!(store.prune_sessions(now).await.unwrap(), 1);
    assert_eq!(store.prune_sessions(now).await.unwrap(), 0);
    assert_eq!(store.session_user(current.id).await.unwrap(), Some(user.clone()));

    store.start_session(&user, login(later)).await.unwrap();
    assert_eq!(store.end_sessions(user.id, Revoke::SESSIONS).await.unwrap().sessions, 2);
    assert_eq!(store.session_user(current.id).await.unwrap(), None);

    let nobody = User { id: Uuid::new_v4(), ..user };
    assert!(matches!(store.start_session(&nobody, login(later)).await, Err(Error::NotFound)));
    store.close().await;
}

pub async fn a_new_password_ends_every_session(db: &Backend) {
    let store = db.open().await;
    let (user, bystander) = (user(&store).await, user(&store).await);
    let later = OffsetDateTime::now_utc() + Duration::hours(1);
    let first = store.start_session(&user, login(later)).await.unwrap().id;
    let second = store.start_session(&user, login(later)).await.unwrap().id;
    let foreign = store.start_session(&bystander, login(later)).await.unwrap().id;

    let revoked = store.set_password(user.id, "new", Some(&user), Revoke::SESSIONS).await.unwrap();
    assert_eq!((revoked.sessions, revoked.tokens, revoked.renewed.as_slice()), (2, 0, &[][..]));
    let found = store.credentials(&user.email).await.unwrap().unwrap();
    assert_eq!((found.password_hash.as_str(), &found.user), ("new", &revoked.user));
    assert!(found.user.updated_at >= user.updated_at);
    assert_eq!(store.session_user(first).await.unwrap(), None);
    assert_eq!(store.session_user(second).await.unwrap(), None);
    assert_eq!(store.session_user(foreign).await.unwrap().map(|user| user.id), Some(bystander.id));
    assert_eq!(store.credentials(&bystander.email).await.unwrap().unwrap().password_hash, "hash");

    let nobodys = store.set_password(Uuid::new_v4(), "hash", None, Revoke::SESSIONS).await;
    assert!(matches!(nobodys, Err(Error::NotFound)));
    store.close().await;
}

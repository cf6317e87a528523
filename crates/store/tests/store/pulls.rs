//! Projects with a pull URL, and which node pulls them.

use gostream_store::{NewProject, PULL_LEASE, ProjectChange, Store};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::backend::{Backend, project, user};

const NOBODYS: [Uuid; 0] = [];

async fn claimed(store: &Store, node: &str, now: OffsetDateTime) -> Vec<Uuid> {
    store.claim_pulls(node, now).await.unwrap().into_iter().map(|row| row.id).collect()
}

pub async fn a_project_is_pulled_by_one_node(db: &Backend) {
    let store = db.open().await;
    let (owner, _bare) = project(&store).await;
    let new = NewProject { name: "Front".to_owned(), pull_url: Some("rtmp://front.example/live".to_owned()) };
    let made = store.add_project(owner.id, new).await.unwrap();
    assert_eq!(made.pull_url.as_deref(), Some("rtmp://front.example/live"));

    let began = OffsetDateTime::now_utc();
    assert_eq!(claimed(&store, "a", began).await, [made.id]);
    assert_eq!(claimed(&store, "b", began).await, NOBODYS);
    // A node keeps a project as long as it renews its claim.
    let mut now = began;
    for _ in 0..10 {
        now += PULL_LEASE / 4;
        assert_eq!(claimed(&store, "a", now).await, [made.id]);
        assert_eq!(claimed(&store, "b", now).await, NOBODYS);
    }
    // The node stops renewing.
    now += PULL_LEASE * 2;
    assert_eq!(claimed(&store, "b", now).await, [made.id]);
    assert_eq!(claimed(&store, "a", now).await, NOBODYS);

    let row = store.project(owner.id, made.id).await.unwrap().unwrap();
    assert_eq!(row.updated_at, made.updated_at, "claiming does not count as a change");
    let none = ProjectChange { pull_url: Some(None), ..ProjectChange::default() };
    assert_eq!(store.change_project(owner.id, made.id, none).await.unwrap().pull_url, None);
    assert_eq!(claimed(&store, "b", now).await, NOBODYS);
    store.close().await;
}

pub async fn a_node_claims_all_unclaimed_projects(db: &Backend) {
    let store = db.open().await;
    let owner = user(&store).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let new = NewProject { name: name.to_owned(), pull_url: Some("rtmp://front.example/live".to_owned()) };
        ids.push(store.add_project(owner.id, new).await.unwrap().id);
    }
    let mut mine = claimed(&store, "a", OffsetDateTime::now_utc()).await;
    mine.sort_unstable();
    ids.sort_unstable();
    assert_eq!(mine, ids);
    store.delete_project(owner.id, ids[1]).await.unwrap();
    assert_eq!(claimed(&store, "a", OffsetDateTime::now_utc()).await.len(), 2);
    store.close().await;
}

//! Projects are reconciled in parallel: a project whose rows hang or cannot be read does not delay others.

use std::time::{Duration, Instant};

use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    postgres::Postgres,
    script::Script,
};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    app::{TestApp, destination, text},
    http::Client,
};

/// A change takes effect within a second, whatever other projects do; the rest is margin for a machine that runs all
/// tests at once. Queued after the hanging project, it would take more than three seconds.
const CARRIED_OUT_MAX: Duration = Duration::from_secs(2);
/// Pause between two changes. Together they last longer than a sweep, so some of them happen while the hanging project
/// is being reconciled.
const PAUSE: Duration = Duration::from_millis(700);
const CHANGES: usize = 10;

/// From now on, reading the destinations of a project in `held` waits until the row is removed, or fails; the same
/// applies to claiming pulls if the nil id is in it.
const HOLD: &str = "
    CREATE TABLE held (id uuid PRIMARY KEY, fails boolean NOT NULL DEFAULT false);
    CREATE FUNCTION answers(project uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        WHILE EXISTS (SELECT FROM held WHERE id = project) LOOP
            IF (SELECT fails FROM held WHERE id = project) THEN RAISE 'these rows are broken'; END IF;
            PERFORM pg_sleep(0.02);
        END LOOP;
        RETURN true;
    END $$;
    CREATE FUNCTION claimed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM answers('00000000-0000-0000-0000-000000000000');
        RETURN NEW;
    END $$;
    CREATE TRIGGER claimed BEFORE UPDATE OF pull_until ON projects FOR EACH ROW EXECUTE FUNCTION claimed();
    ALTER TABLE destinations RENAME TO all_destinations;
    CREATE VIEW destinations AS SELECT * FROM all_destinations WHERE answers(project_id);";

/// A project with an encoder that keeps sending.
async fn live(app: &TestApp, me: &Client) -> (Value, JoinHandle<anyhow::Result<()>>) {
    let project = app.project(me).await;
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.expect("is admitted");
    let frames = Script { ms: 120_000, ..Script::default() }.frames();
    (project, tokio::spawn(async move { encoder.send_paced(&frames, 1.0).await }))
}

async fn destinations(me: &Client, project: &Value, platform: &Platform, count: usize) -> Vec<String> {
    let path = format!("/api/projects/{}/destinations", text(&project["id"]));
    let mut ids = Vec::new();
    for number in 0..count {
        let made = me.post(&path, destination(&platform.url(), &format!("key-{number}"))).await.json(201);
        ids.push(text(&made["id"]).to_owned());
    }
    ids
}

/// The error in the list of projects, which reads no destinations.
async fn sync_error(me: &Client, project: &Value) -> Value {
    let list = me.get("/api/projects").await.json(200);
    let mut all = list.as_array().unwrap().iter();
    all.find(|listed| listed["id"] == project["id"]).expect("is listed")["syncError"].clone()
}

async fn sync_error_until(me: &Client, project: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let looking = async {
        loop {
            let error = sync_error(me, project).await;
            if wanted(&error) {
                return error;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("is reported")
}

/// Starts a relay and returns the time until it reached the platform.
async fn start(me: &Client, destination: &str, platform: &Platform) -> Duration {
    let before = platform.visits().len();
    me.post(&format!("/api/destinations/{destination}/relay/start"), Value::Null).await.json(200);
    let changed = Instant::now();
    platform.wait_for("the relay", |visits| visits.len() > before).await;
    changed.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_with_hanging_or_unreadable_rows_delays_no_other() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let app = TestApp::start(&[("database.url", &database)]).await;
    let sql = |sql: &str| postgres.sql(&database, sql).expect("is taken");
    let me = app.user("me@example.org").await;
    let [of_slow, of_quick] =
        [Platform::start(Behaviour::default()).await.unwrap(), Platform::start(Behaviour::default()).await.unwrap()];
    let (slow, sends_slow) = live(&app, &me).await;
    let (quick, sends_quick) = live(&app, &me).await;
    let waiting = destinations(&me, &slow, &of_slow, 1).await;
    let ready = destinations(&me, &quick, &of_quick, CHANGES + 1).await;
    sql(HOLD);
    assert_eq!(sync_error(&me, &slow).await, Value::Null);

    // The rows of one project hang, and so does the query for pulls.
    sql(&format!("INSERT INTO held VALUES ('{}'), ('00000000-0000-0000-0000-000000000000')", text(&slow["id"])));
    sql(&format!("UPDATE all_destinations SET enabled = true WHERE id = '{}'", waiting[0]));
    let pulled = serde_json::json!({"name": "Pulled", "pullUrl": "rtmp://127.0.0.1:9/live"});
    me.post("/api/projects", pulled).await.json(201);
    for id in &ready[..CHANGES] {
        let took = start(&me, id, &of_quick).await;
        println!("from the answer to the relay: {took:?}");
        assert!(took < CARRIED_OUT_MAX, "{took:?}");
        sleep(PAUSE).await;
    }
    let late = sync_error_until(&me, &slow, Value::is_object).await;
    assert_eq!(late["code"], "database_slow", "{late}");
    assert_eq!(sync_error(&me, &quick).await, Value::Null);

    // The rows can be queried again, but not read.
    sql("UPDATE held SET fails = true");
    let unreadable = sync_error_until(&me, &slow, |error| error["code"] != "database_slow").await;
    assert_eq!(unreadable["code"], "rows_unreadable", "{unreadable}");
    assert_eq!(unreadable["since"], late["since"], "it is the same failure");
    let took = start(&me, &ready[CHANGES], &of_quick).await;
    assert!(took < CARRIED_OUT_MAX, "{took:?}");
    assert_eq!(of_slow.visits().len(), 0, "its rows were not read");

    // Without a wake: the next sweep applies the pending changes.
    sql("DELETE FROM held");
    of_slow.wait_for("the relay that waited", |visits| !visits.is_empty()).await;
    sync_error_until(&me, &slow, Value::is_null).await;
    let whole = me.get(&format!("/api/projects/{}", text(&slow["id"]))).await.json(200);
    assert_eq!((&whole["status"], &whole["syncError"]), (&"live".into(), &Value::Null));
    sends_slow.abort();
    sends_quick.abort();
    app.stop().await;
}

//! Attacks that concern no single endpoint, and a check of the table in `docs/security.md`.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gostream_testkit::encoder::Encoder;
use serde_json::json;

use crate::{
    app::{TestApp, destination, text},
    http::Call,
};

#[tokio::test(flavor = "multi_thread")]
async fn stream_key_guessing_is_slowed_down() {
    /// 20 attempts are free, for example for a school that mistypes; after that, each is delayed by 2 s.
    const TRIES_MAX: usize = 40;
    const DELAY: Duration = Duration::from_secs(2);
    let app = TestApp::start(&[]).await;
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let mut waited = Duration::ZERO;
    for n in 0..TRIES_MAX {
        let begun = Instant::now();
        assert!(Encoder::publish(app.rtmp(), &format!("guess-{n}")).await.is_err(), "no such key");
        waited = waited.max(begun.elapsed());
        if waited >= DELAY {
            break;
        }
    }
    assert!(waited >= DELAY, "{waited:?} after {TRIES_MAX} tries");
    Encoder::publish(app.rtmp(), text(&project["streamKey"]))
        .await
        .expect("a publisher with a valid key is not delayed");
    app.stop().await;
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_written() {
    // No private address is allowed: 192.0.2.0/24 is reserved for documentation.
    let app = TestApp::start(&[("egress.allow", "192.0.2.0/24")]).await;
    let victim = TcpListener::bind("[::]:0").unwrap();
    let port = victim.local_addr().unwrap().port();
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}/destinations", text(&project["id"]));
    let mut judged = 0;
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "169.254.169.254",
        "10.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "good.example@127.0.0.1",
    ] {
        let reply = me.post(&path, destination(&format!("rtmp://{host}:{port}/live"), "key")).await;
        if reply.status == 422 {
            // The URL is refused, which is also fine.
            continue;
        }
        let made = reply.json(201);
        let tried = me.post(&format!("/api/destinations/{}/test", text(&made["id"])), json!({})).await.json(200);
        assert_eq!(tried["ok"], false, "{host}");
        let codes: Vec<_> = tried["steps"].as_array().unwrap().iter().map(|step| &step["error"]["code"]).collect();
        // Some resolvers do not know such a name; then there is no address either.
        let refused = |code: &str| codes.iter().any(|&found| found == code);
        assert!(["address_forbidden", "dns", "no_name_server"].into_iter().any(refused), "{host}: {tried}");
        judged += usize::from(refused("address_forbidden"));
    }
    assert!(judged >= 12, "most were checked: {judged}");
    victim.set_nonblocking(true).unwrap();
    assert!(victim.accept().is_err(), "no connection arrived");
    app.stop().await;
}

#[tokio::test]
async fn a_visitor_cannot_choose_its_counted_address() {
    let app = TestApp::start(&[]).await;
    // The proxy on this machine appends the real address to the forged one.
    let guess = async |made_up: u8| {
        let call = Call::new("POST", "/api/auth/login")
            .json(&json!({"email": "victim@example.org", "password": "x"}))
            .header("x-forwarded-for", &format!("198.51.100.{made_up}, 203.0.113.7"));
        app.client.send(call).await
    };
    for made_up in 0..70 {
        guess(made_up).await;
    }
    let other = Call::new("POST", "/api/auth/login")
        .json(&json!({"email": "somebody@example.org", "password": "x"}))
        .header("x-forwarded-for", "198.51.100.200, 203.0.113.7");
    app.client.send(other).await.problem(429, "too_many_requests");
    app.stop().await;
}

/// The audit log shows the counted address.
#[tokio::test]
async fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
    let app = TestApp::start(&[("http.trusted_proxies", "127.0.0.0/8, 10.0.0.0/8, 2001:db8::/32")]).await;
    app.user("me@example.org").await;
    for (chain, client) in [
        (&["203.0.113.7"][..], "203.0.113.7"),
        (&["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (&["198.51.100.1, 203.0.113.7, 10.1.2.3, 2001:db8::1"], "203.0.113.7"),
        (&["198.51.100.1, 203.0.113.7", "10.1.2.3"], "203.0.113.7"),
        (&["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        (&["203.0.113.7, nonsense, 10.1.2.3"], "10.1.2.3"),
        (&["::ffff:203.0.113.7"], "203.0.113.7"),
        (&[""], "127.0.0.1"),
    ] {
        let credentials = json!({"email": "me@example.org", "password": crate::app::PASSWORD});
        let mut login = Call::new("POST", "/api/auth/login").json(&credentials);
        for header in chain {
            login = login.header("x-forwarded-for", header);
        }
        let token = app.client.send(login).await.json(200)["token"].as_str().map(str::to_owned);
        let log = crate::http::Client { token, ..app.client.clone() }.get("/api/auth/audit").await.json(200);
        assert_eq!(log[0]["address"], client, "{chain:?}");
    }
    app.stop().await;
}

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap()
}

/// All Rust code below a folder, as one text.
fn code(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether a function of this name is a test: by its attribute, or because it is in a list of stories.
fn is_test(code: &str, name: &str) -> bool {
    code.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        let before: Vec<_> = code[..at].lines().rev().take(5).collect();
        before.iter().any(|line| line.contains("#[test]") || line.contains("#[tokio::test"))
    }) || code.split("stories! {").skip(1).any(|rest| {
        let list = rest.split_once("\n}").map_or(rest, |(list, _)| list);
        list.split([' ', ',', ';', '\n', ':']).any(|word| word == name)
    })
}

#[test]
fn every_test_that_the_security_table_names_exists() {
    let mut all = String::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        for part in ["src", "tests"] {
            let folder = entry.as_ref().unwrap().path().join(part);
            if folder.exists() {
                code(&folder, &mut all);
            }
        }
    }
    assert!(!is_test(&all, "every_route_hides_what_is_yours") && !is_test(&all, "is_test"), "the check can fail");

    let journeys = fs::read_to_string(root().join("web/e2e/journeys.mjs")).unwrap();
    let table = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack ")) {
        let last = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        for name in last.split('`').skip(1).step_by(2) {
            named += 1;
            match name.split_once(':') {
                Some(("fuzz", target)) => assert!(root().join(format!("fuzz/targets/{target}.rs")).exists(), "{name}"),
                Some(("journey", words)) => assert!(journeys.contains(&format!("test(\"{words}\"")), "{name}"),
                _ => assert!(is_test(&all, name), "no test is called {name}"),
            }
        }
        assert!(last.contains('`') || row.contains("see below"), "no test: {row}");
    }
    assert!(named > 80, "{named}");
}

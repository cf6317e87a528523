//! Checks `deploy/` and `docs/running.md` against the program: names, paths, settings, and the sandboxing of the
//! service.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use gostream::config::{self, SETTINGS};
use gostream_testkit::{
    PATIENCE,
    certificate::Certificate,
    encoder::Encoder,
    process::{free_port, text as path_text},
    script::Script,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::{TestApp, destination, text};

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every word that begins with `start`, up to the first character that `part` refuses.
fn words(text: &str, start: &str, part: fn(char) -> bool) -> BTreeSet<String> {
    let found = text.match_indices(start).map(|(at, _)| &text[at..]);
    found.map(|rest| rest.chars().take_while(|&letter| part(letter)).collect()).collect()
}

/// Names of metrics, from the types in a scrape.
fn series(page: &str) -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        series.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    series
}

#[tokio::test]
async fn every_metric_that_is_shown_or_documented_is_in_a_scrape() {
    let app = TestApp::start(&[]).await;
    let me = app.user("me@example.org").await;
    let project = app.project(&me).await;
    let path = format!("/api/projects/{}", text(&project["id"]));
    // A relay that fails, because nothing listens there.
    let mut wanted = destination("rtmp://127.0.0.1:1/live", "key");
    wanted["enabled"] = json!(true);
    me.post(&format!("{path}/destinations"), wanted).await.json(201);
    let mut events = me.events(&format!("{path}/events")).await;
    let mut encoder = Encoder::publish(app.rtmp(), text(&project["streamKey"])).await.unwrap();
    encoder.send_all(&Script::default().write()).await.unwrap();
    events.until(|project| project["destinations"][0]["relay"]["lastError"] != Value::Null).await;
    app.client.get(&format!("/hls/{}.m3u8", text(&project["streamKey"]))).await;
    // Failures are counted when the history processes them, slightly later.
    let scraping = async {
        loop {
            let page = app.metrics().get("/metrics").await.text();
            if page.contains("gostream_relay_failures_total{") {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(PATIENCE, scraping).await.unwrap();
    let known = series(&page);
    for file in ["deploy/grafana-dashboard.json", "docs/running.md"] {
        let used = words(&read(file), "gostream_", |letter| letter.is_ascii_lowercase() || letter == '_');
        assert!(used.len() > 2, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}, which no scrape has: {known:?}");
    }
    drop(encoder);
    app.stop().await;
}

#[test]
fn every_variable_that_is_set_is_a_setting() {
    let named = |file: &str| words(&read(file), "GOSTREAM_", |letter| letter.is_ascii_uppercase() || letter == '_');
    for file in ["Dockerfile", "compose.yaml", "compose.postgres.yaml", "gostream.service"] {
        let used = named(&format!("deploy/{file}"));
        assert!(!used.is_empty(), "{file}");
        for name in used {
            assert!(SETTINGS.iter().any(|setting| setting.env == name), "{file}: {name}");
        }
    }
    for name in named("docs/running.md") {
        assert!(SETTINGS.iter().any(|setting| setting.env == name), "docs/running.md: {name}");
    }
}

#[test]
fn the_installed_settings_file_is_valid_with_and_without_its_examples() {
    let text = read("deploy/gostream.toml");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gostream.toml");
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(example) if example.contains(" = ") || example.starts_with('[') => format!("{example}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(examples, text);
    for text in [text, examples] {
        fs::write(&path, text).unwrap();
        config::load([], Some(&path), []).unwrap();
    }
}

#[test]
fn every_packaged_path_exists() {
    let manifest: toml::Table = toml::from_str(&read("crates/server/Cargo.toml")).unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let server = root().join("crates/server");
    let built = "target/release/gostream";
    let assets = deb["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap());
    let more = ["maintainer-scripts", "license-file"].map(|name| {
        let value = &deb[name];
        value.as_str().unwrap_or_else(|| value[0].as_str().unwrap())
    });
    for path in assets.chain(more).filter(|&path| path != built) {
        assert!(server.join(path).exists(), "{path}");
    }
    let units = &deb["systemd-units"];
    let unit = format!("{}/{}.service", units["unit-scripts"].as_str().unwrap(), units["unit-name"].as_str().unwrap());
    assert!(server.join(unit).exists());
    // Links in the guide.
    let guide = read("docs/running.md");
    for path in words(&guide, "deploy/", |letter| letter.is_ascii_alphanumeric() || "/.-".contains(letter)) {
        assert!(root().join(path.trim_end_matches('.')).exists(), "docs/running.md: {path}");
    }
}

#[test]
fn every_command_of_make_and_every_build_that_is_named_exists() {
    let makefile = read("Makefile");
    let workspace: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let profiles = workspace["profile"].as_table().unwrap();
    let (mut commands, mut builds) = (0, 0);
    for path in [
        "Makefile",
        "README.md",
        "CONTRIBUTING.md",
        "bench/README.md",
        "bench/src/main.rs",
        "docs/running.md",
        "deploy/Dockerfile",
        "crates/server/Cargo.toml",
        "scripts/dist",
    ] {
        let text = read(path);
        for rest in text.split("`make ").skip(1).chain(text.split("\nmake ").skip(1)) {
            let command: String =
                rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '-').collect();
            assert!(makefile.contains(&format!("\n{command}: ")), "{path}: make {command}");
            commands += 1;
        }
        for build in words(&text, "target/", |letter| letter.is_ascii_alphanumeric() || "/-_".contains(letter)) {
            let Some(profile) = build.trim_start_matches("target/").strip_suffix("/gostream") else { continue };
            assert!(profile == "debug" || profiles.contains_key(profile), "{path}: {build}");
            builds += 1;
        }
    }
    assert!(commands > 20 && builds > 5, "{commands} {builds}");
    // What is packed is a release.
    assert!(
        makefile.contains("\nrelease: web\n") && makefile.contains("cargo build --locked --release --package gostream")
    );
}

#[test]
fn every_path_copied_into_the_image_exists_and_is_in_the_build_context() {
    let dockerfile = read("deploy/Dockerfile");
    let sent = read("deploy/Dockerfile.dockerignore");
    let mut copied = 0;
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from=")) {
        let mut paths: Vec<_> = line.split_whitespace().skip(1).collect();
        paths.pop();
        for path in paths {
            copied += 1;
            assert!(root().join(path).exists(), "{path}");
            let top = path.split('/').next().unwrap();
            assert!(sent.lines().any(|line| line == format!("!{top}")), "{path} is not in the build context");
        }
    }
    assert!(copied > 4, "{copied}");
    let compose = read("deploy/compose.yaml");
    assert!(compose.contains("dockerfile: deploy/Dockerfile") && compose.contains("context: .."));
    // The image is built with the minimum supported Rust version.
    let workspace: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let rust = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{rust}-")), "Rust {rust}");
}

/// Debian 12 has buildah 1.28 and Docker 20.10, which do not support newer options.
#[test]
fn the_image_can_be_built_on_debian_12() {
    let dockerfile = read("deploy/Dockerfile");
    let joined = dockerfile.replace("\\\n", " ");
    for line in joined.lines().filter(|line| !line.starts_with('#')) {
        let known: &[&str] = match line.split_whitespace().next() {
            Some("HEALTHCHECK") => &["--interval=", "--timeout=", "--start-period=", "--retries="],
            Some("COPY") => &["--from=", "--chown="],
            // Options of commands are not options of the builder.
            Some("RUN") => {
                assert!(!line.starts_with("RUN --") && !line.contains("<<"), "{line}");
                continue;
            }
            _ => &[],
        };
        for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(known.iter().any(|known| option.starts_with(known)), "{line}: {option}");
        }
    }
}

/// Runs a program, if it is installed.
fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn the_service_is_sandboxed_and_accepted_by_systemd() {
    let unit = read("deploy/gostream.service");
    for line in [
        "Type=notify",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "MemoryDenyWriteExecute=yes",
        "StateDirectory=gostream",
        "RestartPreventExitStatus=2",
        // It waits for a name, a port or a disk without limit.
        "Restart=always",
        "StartLimitIntervalSec=0",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gostream.service");
    // Verified with an existing program.
    fs::write(&path, unit.replace("/usr/bin/gostream", env!("CARGO_BIN_EXE_gostream"))).unwrap();
    // Exposure in tenths: below 3.0 of 10.
    for arguments in [
        &["security", "--offline=true", "--no-pager", "--threshold=29", path_text(&path)][..],
        &["verify", "--man=no", path_text(&path)],
    ] {
        match run("systemd-analyze", arguments) {
            // `verify` reports an unknown line as a warning and succeeds.
            Some((success, said)) => assert!(success && !said.contains("ignoring"), "{arguments:?}: {said}"),
            None => println!("systemd-analyze is not installed: only the lines were checked"),
        }
    }
}

#[test]
fn nginx_accepts_the_example() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| path_text(&folder.path().join(name)).to_owned();
    let made = Certificate::for_names(&["stream.example.org"]).unwrap();
    fs::write(at("cert.pem"), &made.pem).unwrap();
    fs::write(at("key.pem"), &made.key_pem).unwrap();
    let letsencrypt = "/etc/letsencrypt/live/stream.example.org";
    let site = read("deploy/nginx.conf")
        .replace(&format!("{letsencrypt}/fullchain.pem"), &at("cert.pem"))
        .replace(&format!("{letsencrypt}/privkey.pem"), &at("key.pem"))
        // The configuration test binds the ports, and these need root.
        .replace("443 ssl", &format!("{} ssl", free_port().unwrap()));
    assert!(!site.contains("letsencrypt"), "{site}");
    fs::write(at("site.conf"), site).unwrap();
    let conf = format!(
        "pid {}; error_log stderr; events {{}} http {{ access_log off; client_body_temp_path {}; proxy_temp_path {}; \
         fastcgi_temp_path {}; uwsgi_temp_path {}; scgi_temp_path {}; include {}; }}",
        at("pid"),
        at("body"),
        at("proxy"),
        at("fastcgi"),
        at("uwsgi"),
        at("scgi"),
        at("site.conf")
    );
    fs::write(at("nginx.conf"), conf).unwrap();
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let (success, said) = run(program, &["-t", "-q", "-c", &at("nginx.conf")]).expect("nginx is a peer of the tests");
    assert!(success, "{said}");
}

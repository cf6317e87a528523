//! Settings: which source wins, which values are refused, and how values are shown.

use std::{fs, path::PathBuf, time::Duration};

use secrecy::ExposeSecret as _;

use super::*;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Loads settings with this text as the settings file.
fn load_all(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: &str) -> Result<Settings, Error> {
    let temp = tempfile::NamedTempFile::new().expect("temp file");
    fs::write(temp.path(), file).expect("written");
    let flags = flags.iter().map(|(key, text)| (*key, (*text).to_owned()));
    let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    load(flags, Some(temp.path()), env)
}

fn sentence(env: &[(&str, &str)], file: &str) -> String {
    load_all(&[], env, file).expect_err("refused").to_string()
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file =
        "[rtmp]\nlisten = \"127.0.0.1:1\"\n[http]\nlisten = \"127.0.0.1:1\"\n[metrics]\nlisten = \"127.0.0.1:1\"";
    let env = [("GOSTREAM_HTTP_LISTEN", "127.0.0.1:2"), ("GOSTREAM_METRICS_LISTEN", "127.0.0.1:2")];
    let settings = load_all(&[("metrics.listen", "127.0.0.1:3")], &env, file).expect("loads");
    assert_eq!(settings.rtmp_listen.port(), 1);
    assert_eq!(settings.http_listen.port(), 2);
    assert_eq!(settings.metrics_listen.map(|address| address.port()), Some(3));
    assert_eq!(settings.signup, Signup::Open);

    let shown = settings.to_string();
    for (line, source) in [
        ("rtmp.listen = \"127.0.0.1:1\"", ""),
        ("http.listen = \"127.0.0.1:2\"", "GOSTREAM_HTTP_LISTEN"),
        ("metrics.listen = \"127.0.0.1:3\"", "--metrics-listen"),
        ("signup = \"open\"", "default"),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(line)).unwrap_or_else(|| panic!("{line}\n{shown}"));
        assert!(found.ends_with(source), "{found}");
    }
}

#[test]
fn defaults_equal_the_documented_ones() {
    let settings = load_all(&[], &[], "").expect("loads");
    assert_eq!(settings.http_listen.to_string(), "[::]:8080");
    assert_eq!(settings.rtmp_listen.to_string(), "[::]:1935");
    assert_eq!(settings.rtmps_listen, None);
    assert_eq!(settings.metrics_listen.expect("on").to_string(), "127.0.0.1:9464");
    assert_eq!(settings.reconnect_grace, Duration::from_secs(60));
    assert_eq!(settings.log.level, "info");
    assert!(settings.data_dir.is_absolute() && settings.data_dir.ends_with("data"));
    let url = settings.database_url.expose_secret();
    assert!(url.starts_with("sqlite:///") && url.ends_with("/data/gostream.db"), "{url}");
    assert!(matches!(settings.secret_key, SecretKeySource::DataDir));
}

#[test]
fn every_setting_can_be_given_in_every_way() {
    let values = [
        ("data_dir", "/tmp/x"),
        ("database.url", "postgres://me:pw@db/gostream"),
        ("http.listen", "[::1]:80"),
        ("http.trusted_proxies", "10.0.0.0/8"),
        ("rtmp.listen", "0.0.0.0:1935"),
        ("rtmps.listen", "off"),
        ("proxy_protocol.from", "10.1.0.0/16, 192.168.1.7"),
        ("tls.cert", "c.pem"),
        ("tls.key", "k.pem"),
        ("acme.domains", "stream.example.org, live.example.org"),
        ("acme.email", "me@example.org"),
        ("acme.directory", "https://ca.example.org/acme/acme/directory"),
        ("acme.ca", "roots.pem"),
        ("metrics.listen", "off"),
        ("public_url", "https://stream.example.org"),
        ("secret_key", KEY),
        ("secret_key_file", "/run/secrets/key"),
        ("signup", "closed"),
        ("egress.allow", "10.0.0.0/8, 192.168.1.7,fd00::/8"),
        ("quota.projects", "5"),
        ("quota.destinations", "6"),
        ("quota.live_streams", "7"),
        ("quota.ingest_bitrate", "8000"),
        ("ingest.reconnect_grace", "5m"),
        ("log.format", "json"),
        ("log.level", "warn,gostream=debug"),
    ];
    assert_eq!(values.len(), SETTINGS.len());
    for (setting, (key, text)) in SETTINGS.iter().zip(values) {
        assert_eq!(setting.key, key);
        assert_eq!(setting.flag, key.replace(['.', '_'], "-"));
        // tls.cert and tls.key require each other; the other ACME settings require acme.domains.
        let other = match key {
            "tls.cert" => Some("tls.key"),
            "tls.key" => Some("tls.cert"),
            "acme.email" | "acme.directory" | "acme.ca" => Some("acme.domains"),
            _ => None,
        };
        let file_other = other.map(|other| format!("\n{other} = \"other.pem\"")).unwrap_or_default();
        let flags: Vec<_> = other.map(|other| (other, "other.pem")).into_iter().collect();
        load_all(&[&flags[..], &[(key, text)]].concat(), &[], "").expect(key);
        load_all(&flags, &[(setting.env, text)], "").expect(key);
        load_all(&[], &[], &format!("{key} = \"{text}\"{file_other}")).expect(key);
    }
}

#[test]
fn bad_values_are_reported_in_one_line_that_names_the_setting() {
    for (env, text) in [
        ("GOSTREAM_HTTP_LISTEN", "8080"),
        ("GOSTREAM_RTMP_LISTEN", "localhost"),
        ("GOSTREAM_RTMPS_LISTEN", "on"),
        ("GOSTREAM_METRICS_LISTEN", "127.0.0.1"),
        ("GOSTREAM_DATABASE_URL", "mysql://db"),
        ("GOSTREAM_ACME_DOMAINS", "*.example.org"),
        ("GOSTREAM_ACME_DOMAINS", "192.0.2.7"),
        ("GOSTREAM_ACME_DOMAINS", "localhost"),
        ("GOSTREAM_ACME_DOMAINS", "stream.example.org,https://live.example.org"),
        ("GOSTREAM_ACME_DOMAINS", ","),
        ("GOSTREAM_ACME_EMAIL", "me"),
        ("GOSTREAM_ACME_DIRECTORY", "http://ca.example.org/directory"),
        ("GOSTREAM_PUBLIC_URL", "stream.example.org"),
        ("GOSTREAM_PUBLIC_URL", "ftp://a"),
        ("GOSTREAM_PUBLIC_URL", "https://example.org/stream/"),
        ("GOSTREAM_PUBLIC_URL", "https://example.org/stream"),
        ("GOSTREAM_PUBLIC_URL", "https://example.org//"),
        ("GOSTREAM_SECRET_KEY", "c2hvcnQ="),
        ("GOSTREAM_SIGNUP", "maybe"),
        ("GOSTREAM_EGRESS_ALLOW", "10.0.0.0/99"),
        ("GOSTREAM_INGEST_RECONNECT_GRACE", "60"),
        ("GOSTREAM_INGEST_RECONNECT_GRACE", "2h"),
        ("GOSTREAM_LOG_FORMAT", "xml"),
        ("GOSTREAM_LOG", "loud"),
    ] {
        let sentence = sentence(&[(env, text)], "");
        let setting = SETTINGS.iter().find(|setting| setting.env == env).expect(env);
        let start = format!("{} (from {env}) takes {}", setting.key, setting.takes);
        assert!(sentence.starts_with(&start), "{sentence}");
        assert_eq!(sentence.lines().count(), 1);
        assert_eq!(sentence.contains(text), !setting.secret, "{sentence}");
    }
}

#[test]
fn unknown_keys_are_reported_and_foreign_variables_are_ignored() {
    assert!(sentence(&[("GOSTREAM_HTTP_LISTN", "x")], "").starts_with("GOSTREAM_HTTP_LISTN is not a setting"));
    assert!(sentence(&[], "[http]\nlistn = \"x\"").contains("`http.listn` is not a setting"));
    assert!(sentence(&[], "signup.now = true").contains("`signup.now` is not a setting"));
    assert!(sentence(&[], "signup = \n").contains("line 1"));
    let foreign =
        [("PATH", "/bin"), ("GOSTREAM_SERVICE_HOST", "10.0.0.1"), ("GOSTREAM_PORT_8080_TCP", "tcp://10.0.0.1")];
    load_all(&[], &foreign, "").expect("Kubernetes sets those");
    load_all(&[], &[("GOSTREAM_PUBLIC_URL", "")], "").expect("an empty variable counts as unset");
    let missing = load([], Some(&PathBuf::from("/nowhere/gostream.toml")), []).expect_err("refused").to_string();
    assert!(missing.contains("/nowhere/gostream.toml"), "{missing}");
}

#[test]
fn missing_required_settings_are_reported() {
    assert!(sentence(&[("GOSTREAM_TLS_CERT", "c.pem")], "").contains("tls.key"));
    assert!(sentence(&[("GOSTREAM_RTMPS_LISTEN", "[::]:1936")], "").contains("certificate"));
    let both = "acme.domains = \"a.example\"\ntls.cert = \"c.pem\"\ntls.key = \"k.pem\"";
    assert!(sentence(&[], both).starts_with("acme.domains and tls.cert exclude each other"));
    for alone in [("GOSTREAM_ACME_EMAIL", "me@a.example"), ("GOSTREAM_ACME_CA", "c.pem")] {
        assert!(sentence(&[alone], "").contains("set acme.domains, too"));
    }
    assert!(sentence(&[("GOSTREAM_SECRET_KEY", KEY), ("GOSTREAM_SECRET_KEY_FILE", "f")], "").contains("exclude"));
}

#[test]
fn domains_are_normalized_as_in_certificates() {
    let file = "acme.domains = [\"Stream.Example.org\", \"bücher.example\", \"stream.example.org\"]\n[rtmps]\nlisten = \"[::]:1936\"";
    let settings = load_all(&[], &[], file).expect("an ACME certificate is valid for RTMPS, too");
    let Some(Tls::Acme(acme)) = settings.tls else { panic!("{:?}", settings.tls) };
    assert_eq!(acme.domains, ["stream.example.org", "xn--bcher-kva.example"]);
    let default = SETTINGS.iter().find(|setting| setting.key == "acme.directory").expect("a setting").default;
    assert_eq!(acme.directory.as_str(), default);
}

#[test]
fn secrets_are_masked_and_the_output_is_a_settings_file() {
    let env = [
        ("GOSTREAM_SECRET_KEY", KEY),
        ("GOSTREAM_DATABASE_URL", "postgres://me:hunter2@db/gostream?password=hunter3"),
        ("GOSTREAM_EGRESS_ALLOW", "10.0.0.0/8"),
        ("GOSTREAM_ACME_DOMAINS", "stream.example.org"),
        ("GOSTREAM_ACME_DIRECTORY", "https://me:hunter4@ca.example.org/directory"),
    ];
    let settings = load_all(&[], &env, "").expect("loads");
    let shown = settings.to_string();
    for secret in [KEY, "hunter2", "hunter3"] {
        assert!(!shown.contains(secret) && !format!("{settings:?}").contains(secret), "{shown}");
    }
    assert!(shown.contains("postgres://me:****@db/gostream"), "{shown}");
    assert!(!shown.contains("hunter4"), "{shown}");
    let refused = sentence(&[("GOSTREAM_PUBLIC_URL", "https://me:hunter2@example.org")], "");
    assert!(refused.contains("https://me:****@example.org"), "{refused}");
    let table: toml::Table = toml::from_str(&shown).expect("reads as TOML");
    assert_eq!(table["egress"]["allow"].as_str(), Some("10.0.0.0/8"));
}

#[test]
fn keys_are_accepted_in_every_base64_alphabet() {
    let key = SecretKey(std::array::from_fn(|n| 0xe0 + n as u8));
    for text in [
        "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8=",
        "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8",
        "4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8=",
    ] {
        assert_eq!(parse_secret_key(text), Some(key.clone()), "{text}");
    }
    assert_eq!(format!("{key:?}"), "****");
    assert_eq!(parse_secret_key(&SecretKey([0; 32]).encoded()), None, "zeros are no secret");
}

//! Due times, pauses, stored files and error sentences. `tests/api/acme.rs` tests the rest with a real ACME server.

use std::{fs, os::unix::fs::PermissionsExt as _};

use instant_acme::Problem;
use rcgen::{CertificateParams, KeyPair};
use time::macros::datetime;
use url::Url;

use super::*;

fn acme(domains: &[&str]) -> Acme {
    Acme {
        domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        email: None,
        directory: Url::parse("https://ca.example.org/directory").expect("a URL"),
        ca: None,
    }
}

/// A key and a certificate that is valid for 90 days from 1 March.
fn pem(domains: &[&str]) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(acme(domains).domains).expect("names");
    params.not_before = datetime!(2026-03-01 0:00 UTC);
    params.not_after = datetime!(2026-05-30 0:00 UTC);
    format!("{}{}", key.serialize_pem(), params.self_signed(&key).expect("signed").pem())
}

fn problem(kind: &str, detail: &str) -> Error {
    let problem = Problem {
        r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
        detail: Some(detail.to_owned()),
        status: None,
        subproblems: Vec::new(),
    };
    Error::Refused { domain: Some("stream.example.org".to_owned()), problem }
}

#[test]
fn a_certificate_is_due_with_a_third_of_its_life_left_or_when_the_settings_change() {
    let temp = tempfile::tempdir().expect("temp dir");
    let store = Store::at(temp.path());
    store.prepare().expect("made");
    let wanted = acme(&["a.example", "b.example"]);
    let pem = pem(&["a.example", "b.example", "c.example"]);
    let issued = Issued::read(&pem, wanted.directory.as_str()).expect("reads");
    store.keep(&issued, &pem).expect("stored");
    assert_eq!(issued.due(), datetime!(2026-04-30 0:00 UTC));

    let left = |acme: Acme, now| {
        let (renewal, first) = Renewal::open(acme, RootCertStore::empty(), temp.path()).expect("opens");
        assert_eq!(first.cert, issued.certificate.cert, "the stored one is used even if a new one is due");
        renewal.left(now)
    };
    let now = datetime!(2026-04-29 0:00 UTC);
    assert_eq!(left(wanted.clone(), now), Some(Duration::from_secs(24 * 3_600)));
    assert_eq!(left(wanted.clone(), datetime!(2026-04-30 0:00 UTC)), None);
    assert_eq!(left(wanted.clone(), datetime!(2027-01-01 0:00 UTC)), None, "expired long ago");
    assert_eq!(left(acme(&["a.example", "d.example"]), now), None, "another name");
    let directory = Url::parse("https://staging.example.org/directory").expect("a URL");
    assert_eq!(left(Acme { directory, ..wanted }, now), None, "another authority");
}

#[test]
fn stored_files_are_private_and_an_invalid_certificate_is_replaced_by_a_stand_in() {
    let temp = tempfile::tempdir().expect("temp dir");
    let (_, first) = Renewal::open(acme(&["a.example"]), RootCertStore::empty(), temp.path()).expect("opens");
    let store = Store::at(temp.path());
    assert_eq!(store.shown().expect("a stand-in").cert, first.cert);
    let folder = temp.path().join("acme");
    fs::write(folder.join("certificate.pem"), "Issued by nobody\n-----BEGIN NONSENSE").expect("written");
    let (renewal, second) = Renewal::open(acme(&["a.example"]), RootCertStore::empty(), temp.path()).expect("opens");
    assert_eq!(renewal.left(OffsetDateTime::now_utc()), None);
    assert_eq!(store.shown().expect("a stand-in").cert, second.cert);
    let pem = pem(&["a.example"]);
    store.keep(&Issued::read(&pem, "https://x").expect("reads"), &pem).expect("stored");
    assert_ne!(store.shown().expect("the certificate").cert, second.cert);

    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).expect("readable").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

#[test]
fn pauses_grow_with_consecutive_failures() {
    let minutes = |failures, kind| pause(failures, &problem(kind, "")).as_secs() / 60;
    let pauses: Vec<_> = [1, 2, 3, 4, 5, 8, 9, 99].map(|failures| minutes(failures, "connection")).into();
    assert_eq!(pauses, [2, 4, 8, 16, 32, 256, 360, 360]);
    assert_eq!(minutes(1, "rateLimited"), 360, "asking again soon makes it worse");
}

#[test]
fn problems_of_an_authority_are_reported_with_a_remedy() {
    for (kind, part) in [
        ("connection", "Port 443 of the name must lead to http.listen"),
        ("unauthorized", "Port 443"),
        ("dns", "A or AAAA record"),
        ("caa", "CAA record"),
        ("rejectedIdentifier", "check acme.domains"),
        ("rateLimited", "tries again later"),
        ("invalidContact", "acme.email"),
        ("externalAccountRequired", "tls.cert"),
        ("somethingNew", "another acme.directory"),
    ] {
        let sentence = problem(kind, "It went wrong.").to_string();
        let start = "The ACME server says about stream.example.org: It went wrong. ";
        assert!(sentence.starts_with(start) && sentence.contains(part) && sentence.ends_with('.'), "{sentence}");
    }
    let forged = problem("dns", &format!("x\n2026 ERROR forged\u{1b}[2J {}", "y".repeat(10_000))).to_string();
    assert!(!forged.contains(char::is_control) && forged.len() < 700, "{forged}");
}

//! The stream key in a publish or play request, in all the forms that encoders use.

/// The stream key in the `publish` or `play` name of a client, with the application and `tcUrl` of its `connect`.
///
/// A query after the name is not part of the key (`KEY?x=1`). Of a full URL only the last segment is the key
/// (`rtmp://host/live/KEY`). An empty name means that the user put the key into the server field, so the key is the
/// last segment of the application. White space around the key comes from copying and is removed. `None` if nothing is
/// left.
pub fn requested_key<'a>(app: &'a str, tc_url: &'a str, name: &'a str) -> Option<&'a str> {
    let name = if name.contains("://") { last_segment(name) } else { name };
    let name = trimmed(without_query(name));
    if !name.is_empty() {
        return Some(name);
    }
    [app, path_of(tc_url)].into_iter().find_map(|path| {
        let path = trimmed(without_query(path));
        let path = trimmed(path.strip_suffix("_definst_").unwrap_or(path));
        // A single segment is not a key: `live` alone does not identify the publisher.
        path.rsplit_once('/').map(|(_, key)| key.trim_start()).filter(|key| !key.is_empty())
    })
}

/// Without slashes and white space at both ends.
fn trimmed(text: &str) -> &str {
    text.trim_matches(is_edge)
}

fn is_edge(c: char) -> bool {
    c == '/' || c.is_whitespace()
}

fn without_query(text: &str) -> &str {
    text.split_once('?').map_or(text, |(path, _)| path)
}

fn last_segment(url: &str) -> &str {
    let url = without_query(url).trim_end_matches(is_edge);
    url.rsplit_once('/').map_or(url, |(_, last)| last)
}

fn path_of(url: &str) -> &str {
    url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_found_in_every_form() {
        for (app, tc_url, name) in [
            ("live", "rtmp://h/live", "k-1"),
            ("live/", "rtmp://h:1935/live/", "k-1"),
            ("live", "rtmp://h/live", "k-1?bandwidthtest=true"),
            ("live", "rtmp://h/live", "rtmp://h/live/k-1"),
            ("live", "rtmp://h/live", "rtmp://h/live/k-1?x=1"),
            ("live/k-1", "rtmp://h/live/k-1", ""),
            ("live/k-1?vhost=x", "rtmp://h/live/k-1?vhost=x", ""),
            ("live", "rtmp://h/live/k-1", ""),
            ("live/k-1/_definst_", "rtmp://h/live/k-1/_definst_", ""),
            ("live", "rtmp://h/live", "/k-1"),
            ("live", "rtmp://h/live", " k-1\r\n"),
            ("live", "rtmp://h/live", "\tk-1 ?x=1"),
            ("live", "rtmp://h/live", " rtmp://h/live/k-1 /\n"),
            ("live", "rtmp://h/live", "rtmp://h/live/ k-1 ?x=1"),
            ("live/ k-1\u{a0}", "rtmp://h/live/ k-1", " "),
            ("live", "rtmp://h/live/k-1\n", "\n"),
        ] {
            assert_eq!(requested_key(app, tc_url, name), Some("k-1"), "{app} {tc_url} {name}");
        }
    }

    #[test]
    fn nothing_is_not_a_key() {
        for (app, tc_url, name) in [
            ("live", "rtmp://h/live", ""),
            ("", "", ""),
            ("live", "rtmp://h/live", "?a=b"),
            ("live/ ", "rtmp://h/live/ ", " / "),
        ] {
            assert_eq!(requested_key(app, tc_url, name), None, "{app} {tc_url} {name}");
        }
    }
}

//! What an encoder asked to publish or play, in all the forms that encoders write it.

/// The key in what a client sent as `publish` or `play` name, with the application and `tcUrl` of its `connect`.
///
/// A query behind the name is not part of the key (`KEY?x=1`), a full URL is cut to its last segment
/// (`rtmp://host/live/KEY`), and an empty name means that the person put the key into the server field, so it is the
/// last segment of the application. `None` when nothing is left.
pub fn requested_key<'a>(app: &'a str, tc_url: &'a str, name: &'a str) -> Option<&'a str> {
    let name = if name.contains("://") { last_segment(name) } else { name };
    let name = without_query(name).trim_matches('/');
    if !name.is_empty() {
        return Some(name);
    }
    [app, path_of(tc_url)].into_iter().find_map(|path| {
        let path = without_query(path).trim_matches('/');
        let path = path.strip_suffix("_definst_").unwrap_or(path).trim_matches('/');
        // A lone application is no key: `live` alone says nothing about who publishes.
        path.rsplit_once('/').map(|(_, key)| key).filter(|key| !key.is_empty())
    })
}

fn without_query(text: &str) -> &str {
    text.split_once('?').map_or(text, |(path, _)| path)
}

fn last_segment(url: &str) -> &str {
    let url = without_query(url).trim_end_matches('/');
    url.rsplit_once('/').map_or(url, |(_, last)| last)
}

fn path_of(url: &str) -> &str {
    url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_leads_to_the_key() {
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
        ] {
            assert_eq!(requested_key(app, tc_url, name), Some("k-1"), "{app} {tc_url} {name}");
        }
    }

    #[test]
    fn nothing_is_not_a_key() {
        for (app, tc_url, name) in [("live", "rtmp://h/live", ""), ("", "", ""), ("live", "rtmp://h/live", "?a=b")] {
            assert_eq!(requested_key(app, tc_url, name), None, "{app} {tc_url} {name}");
        }
    }
}

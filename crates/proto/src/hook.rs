//! What nginx-rtmp tells its hooks (`on_publish`, `on_publish_done`): a form, in the body or in the query.

use std::borrow::Cow;

/// A notice of a publisher that comes or leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The name that it publishes under, without white space at its ends: the stream key.
    pub key: Option<String>,
    /// The name in front has white space at its ends.
    pub was_trimmed: bool,
    /// Its address, as the server in front saw it; empty when it tells none.
    pub address: String,
    /// The number that the server in front gave its connection; empty when it tells none.
    pub client_id: String,
}

impl Notice {
    /// Reads a notice; what is not told is empty.
    pub fn parse(query: &str, form: &str) -> Self {
        // The module writes `addr` and `clientid` in front of `call`, and what the publisher wrote behind it.
        let pairs = if form.contains("call=") { form } else { query };
        let own = |name: &str| {
            let mut own = form_urlencoded::parse(pairs.as_bytes()).take_while(|(key, _)| key != "call");
            own.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let name = key(query, form).unwrap_or_default();
        let key = Some(name.trim()).filter(|key| !key.is_empty());
        Self {
            key: key.map(str::to_owned),
            was_trimmed: key.is_some_and(|key| key.len() < name.len()),
            address: own("addr"),
            client_id: own("clientid"),
        }
    }
}

/// A plain `name=KEY` in the query counts first, unless the query has a `$`: nginx does not expand its variables there,
/// and `name=$name` arrives as it stands. Then the form counts.
fn key(query: &str, form: &str) -> Option<String> {
    match (name(query), name(form)) {
        (Some(_), Some(form)) if has_variable(query) => Some(form),
        (query, form) => query.or(form),
    }
}

fn has_variable(query: &str) -> bool {
    query.contains('$') || query.contains("%24")
}

/// The first `name` behind `call`, or the first at all. nginx-rtmp writes `call=publish&name=KEY&type=live` and then,
/// raw, whatever the publisher wrote behind its key, which may be another `name`. Before that, with `notify_method get`,
/// it appends `?app=live&…` to a query that is there already, which spoils the `name` in it.
fn name(pairs: &str) -> Option<String> {
    let value = |(key, value): (_, Cow<'_, str>)| (key == "name").then(|| value.into_owned());
    let parse = || form_urlencoded::parse(pairs.as_bytes());
    let behind_call = parse().skip_while(|(key, _)| key != "call").find_map(value);
    behind_call.or_else(|| parse().find_map(value)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_nginx_means_counts() {
        let nginx = "app=live&flashver=&tcurl=rtmp://h/live&addr=1.2.3.4&clientid=17&call=publish&name=KEY&type=live";
        for (query, form) in [
            ("", "name=KEY"),
            ("name=KEY", ""),
            ("name=KEY", "name=KEY"),
            ("", nginx),
            // The directive's own variable is not expanded.
            ("name=$name", nginx),
            ("name=%24name", nginx),
            // The publisher writes another name behind its key.
            ("", &format!("{nginx}&name=OTHER&call=publish")),
            // `notify_method get`, on a bare path and on one with a query.
            (nginx, ""),
            (&format!("name=x?{nginx}"), ""),
            (&format!("name=x?{nginx}&name=OTHER"), ""),
            ("a=b&name=KEY", "other=1"),
            ("name=", "name=KEY"),
        ] {
            assert_eq!(Notice::parse(query, form).key.as_deref(), Some("KEY"), "query {query}, form {form}");
        }
    }

    #[test]
    fn the_connection_is_the_one_that_nginx_names() {
        let nginx = "app=live&addr=1.2.3.4&clientid=17&call=publish&name=KEY&type=live&clientid=18&addr=4.3.2.1&call=x";
        for (query, form) in [("", nginx), ("name=$name", nginx), (nginx, ""), ("addr=9.9.9.9&clientid=1", nginx)] {
            let Notice { address, client_id, .. } = Notice::parse(query, form);
            assert_eq!((address.as_str(), client_id.as_str()), ("1.2.3.4", "17"), "{query} {form}");
        }
        // One whose server writes none of it must not get one by what it writes behind its key.
        let bare = "call=publish&name=KEY&clientid=17&addr=1.2.3.4";
        let Notice { address, client_id, .. } = Notice::parse("", bare);
        assert_eq!((address.as_str(), client_id.as_str()), ("", ""));
    }

    #[test]
    fn white_space_around_the_name_is_cut_off_and_told() {
        let key = |name: &str| Notice::parse("", &format!("call=publish&name={name}&type=live"));
        for name in ["KEY%20", "+KEY", "%09KEY%0D%0A", "KEY%C2%A0"] {
            let notice = key(name);
            assert_eq!((notice.key.as_deref(), notice.was_trimmed), (Some("KEY"), true), "{name}");
        }
        assert!(!key("KEY").was_trimmed && !key("").was_trimmed);
    }

    #[test]
    fn escapes_are_undone_and_nothing_is_nothing() {
        assert_eq!(Notice::parse("", "call=publish&name=a%20b%26c").key.as_deref(), Some("a b&c"));
        for (query, form) in [
            ("", ""),
            ("name=", "name="),
            ("name=+", "name=%0A"),
            ("key=KEY", "call=publish"),
            ("", "{\"name\":\"KEY\"}"),
        ] {
            assert_eq!(Notice::parse(query, form).key, None, "{query} {form}");
        }
    }
}

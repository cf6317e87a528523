//! Calls of nginx-rtmp hooks (`on_publish`, `on_publish_done`): a form, in the body or in the query.

use std::borrow::Cow;

/// A hook call: a publisher connects or disconnects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookCall {
    /// The stream key: the name that the publisher uses, without white space at its ends.
    pub key: Option<String>,
    /// The name had white space at its ends.
    pub was_trimmed: bool,
    /// The publisher's address as nginx sees it; empty if the call has none.
    pub address: String,
    /// The number that nginx gave the publisher's connection; empty if the call has none.
    pub client_id: String,
}

impl HookCall {
    /// Parses a hook call. Missing fields are empty.
    pub fn parse(query: &str, form: &str) -> Self {
        // nginx-rtmp writes `addr` and `clientid` before `call`, and the publisher's own arguments after it.
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

/// A plain `name=KEY` in the query has priority, unless the query contains a `$`: nginx does not expand its variables
/// there, so `name=$name` arrives literally. Then the form is used.
fn key(query: &str, form: &str) -> Option<String> {
    match (name(query), name(form)) {
        (Some(_), Some(form)) if has_variable(query) => Some(form),
        (query, form) => query.or(form),
    }
}

fn has_variable(query: &str) -> bool {
    query.contains('$') || query.contains("%24")
}

/// The first `name` after `call`, or the first of all. nginx-rtmp writes `call=publish&name=KEY&type=live` and then
/// appends, unescaped, the arguments that the publisher wrote after its key; these may contain another `name`. With
/// `notify_method get`, nginx-rtmp appends `?app=live&…` to an existing query, which corrupts the `name` in it.
fn name(pairs: &str) -> Option<String> {
    let value = |(key, value): (_, Cow<'_, str>)| (key == "name").then(|| value.into_owned());
    let parse = || form_urlencoded::parse(pairs.as_bytes());
    let after_call = parse().skip_while(|(key, _)| key != "call").find_map(value);
    after_call.or_else(|| parse().find_map(value)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_from_nginx_is_used() {
        let nginx = "app=live&flashver=&tcurl=rtmp://h/live&addr=1.2.3.4&clientid=17&call=publish&name=KEY&type=live";
        for (query, form) in [
            ("", "name=KEY"),
            ("name=KEY", ""),
            ("name=KEY", "name=KEY"),
            ("", nginx),
            // nginx does not expand the variable in the directive.
            ("name=$name", nginx),
            ("name=%24name", nginx),
            // The publisher adds another name after its key.
            ("", &format!("{nginx}&name=OTHER&call=publish")),
            // `notify_method get`, with and without a query in the configured URL.
            (nginx, ""),
            (&format!("name=x?{nginx}"), ""),
            (&format!("name=x?{nginx}&name=OTHER"), ""),
            ("a=b&name=KEY", "other=1"),
            ("name=", "name=KEY"),
        ] {
            assert_eq!(HookCall::parse(query, form).key.as_deref(), Some("KEY"), "query {query}, form {form}");
        }
    }

    #[test]
    fn the_connection_fields_from_nginx_are_used() {
        let nginx = "app=live&addr=1.2.3.4&clientid=17&call=publish&name=KEY&type=live&clientid=18&addr=4.3.2.1&call=x";
        for (query, form) in [("", nginx), ("name=$name", nginx), (nginx, ""), ("addr=9.9.9.9&clientid=1", nginx)] {
            let HookCall { address, client_id, .. } = HookCall::parse(query, form);
            assert_eq!((address.as_str(), client_id.as_str()), ("1.2.3.4", "17"), "{query} {form}");
        }
        // If nginx sends no connection fields, the publisher must not be able to set them in its arguments.
        let bare = "call=publish&name=KEY&clientid=17&addr=1.2.3.4";
        let HookCall { address, client_id, .. } = HookCall::parse("", bare);
        assert_eq!((address.as_str(), client_id.as_str()), ("", ""));
    }

    #[test]
    fn white_space_around_the_name_is_trimmed_and_reported() {
        let key = |name: &str| HookCall::parse("", &format!("call=publish&name={name}&type=live"));
        for name in ["KEY%20", "+KEY", "%09KEY%0D%0A", "KEY%C2%A0"] {
            let call = key(name);
            assert_eq!((call.key.as_deref(), call.was_trimmed), (Some("KEY"), true), "{name}");
        }
        assert!(!key("KEY").was_trimmed && !key("").was_trimmed);
    }

    #[test]
    fn escapes_are_decoded_and_empty_calls_have_no_key() {
        assert_eq!(HookCall::parse("", "call=publish&name=a%20b%26c").key.as_deref(), Some("a b&c"));
        for (query, form) in [
            ("", ""),
            ("name=", "name="),
            ("name=+", "name=%0A"),
            ("key=KEY", "call=publish"),
            ("", "{\"name\":\"KEY\"}"),
        ] {
            assert_eq!(HookCall::parse(query, form).key, None, "{query} {form}");
        }
    }
}

//! Settings in the environment, and foreign variables with similar names.

use std::net::{IpAddr, SocketAddr};

use super::{error::Error, source::Source, table::SETTINGS, values::Values};

/// Every variable with this prefix must be a setting, so that typing errors are not silently ignored.
const PREFIX: &str = "GOSTREAM_";
/// Prefixes of variables that Kubernetes sets for a service called `gostream`. They are not settings.
const FOREIGN_PREFIXES: [&str; 2] = ["GOSTREAM_SERVICE_", "GOSTREAM_PORT"];

pub(super) fn read(env: impl IntoIterator<Item = (String, String)>, values: &mut Values) -> Result<(), Error> {
    for (name, text) in env {
        if !name.starts_with(PREFIX) || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.env == name) else {
            if is_of_a_service(&name, &text) {
                continue;
            }
            return Err(Error::UnknownVariable { name });
        };
        // Compose files pass unset variables as empty ones; those count as unset.
        if !text.is_empty() {
            values.put(setting, text, Source::Env(setting.env));
        }
    }
    Ok(())
}

/// Whether Kubernetes set the variable for a service such as `gostream-http` ("Discovering services: environment
/// variables"). The value must match, too: `GOSTREAM_HTTP_PORT=tcp://10.0.0.1:8080` is from Kubernetes,
/// `GOSTREAM_HTTP_PORT=8080` is an operator's mistake.
fn is_of_a_service(name: &str, text: &str) -> bool {
    let is_address = || text.parse::<IpAddr>().is_ok();
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    if name.ends_with("_SERVICE_HOST") {
        return is_address();
    }
    if let Some((_, port_name)) = name.rsplit_once("_SERVICE_PORT") {
        return (port_name.is_empty() || port_name.starts_with('_')) && is_number(text);
    }
    let Some((_, rest)) = name.rsplit_once("_PORT_") else { return name.ends_with("_PORT") && is_link(text) };
    let (port, protocol_and_part) = rest.split_once('_').unwrap_or((rest, ""));
    let (protocol, part) = protocol_and_part.split_once('_').unwrap_or((protocol_and_part, ""));
    let is_of_a_port = is_number(port) && matches!(protocol, "TCP" | "UDP" | "SCTP");
    is_of_a_port
        && match part {
            "" => is_link(text),
            "PROTO" => text.eq_ignore_ascii_case(protocol),
            "PORT" => text == port,
            "ADDR" => is_address(),
            _ => false,
        }
}

/// Whether the text has the form `tcp://10.0.0.1:8080`.
fn is_link(text: &str) -> bool {
    let Some((protocol, address)) = text.split_once("://") else { return false };
    matches!(protocol, "tcp" | "udp" | "sctp") && address.parse::<SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(name: &str, text: &str) -> Result<(), Error> {
        read([(name.to_owned(), text.to_owned())], &mut Values::default())
    }

    #[test]
    fn kubernetes_variables_of_services_like_gostream_http_are_not_settings() {
        for service in ["GOSTREAM_HTTP", "GOSTREAM_RTMP_PUBLIC", "GOSTREAM_DATABASE", "GOSTREAM_LOG", "GOSTREAM"] {
            for (rest, text) in [
                ("SERVICE_HOST", "10.96.0.17"),
                ("SERVICE_HOST", "fd00::17"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP_ALT", "8080"),
                ("PORT", "tcp://10.96.0.17:8080"),
                ("PORT", "tcp://[fd00::17]:8080"),
                ("PORT_8080_TCP", "tcp://10.96.0.17:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "10.96.0.17"),
                ("PORT_8443_UDP", "udp://10.96.0.17:8443"),
                ("PORT_8443_UDP_PROTO", "udp"),
            ] {
                let name = format!("{service}_{rest}");
                assert!(taken(&name, text).is_ok(), "{name}={text}");
            }
        }
    }

    #[test]
    fn variables_that_may_be_typing_errors_are_refused() {
        for (name, text) in [
            ("GOSTREAM_HTTP_PORT", "8080"),
            ("GOSTREAM_HTTP_PORT", "http://10.96.0.17:8080"),
            ("GOSTREAM_HTTP_SERVICE_HOST", "stream.example.org"),
            ("GOSTREAM_HTTP_SERVICE_PORTS", "8080"),
            ("GOSTREAM_HTTP_SERVICE_PORT", "[::]:8080"),
            ("GOSTREAM_RTMP_PORT_1935", "tcp://10.96.0.17:1935"),
            ("GOSTREAM_RTMP_PORT_1935_TCP", "on"),
            ("GOSTREAM_RTMP_PORT_1935_TCP_PORT", "1936"),
            ("GOSTREAM_RTMP_PORT_1935_TCP_HOST", "10.96.0.17"),
            ("GOSTREAM_HTTP_LISTN", "tcp://10.96.0.17:8080"),
        ] {
            assert!(matches!(taken(name, text), Err(Error::UnknownVariable { .. })), "{name}={text}");
        }
    }

    /// Otherwise Kubernetes could set it unintentionally.
    #[test]
    fn no_setting_has_the_name_of_a_service_variable() {
        for setting in SETTINGS {
            for text in ["10.0.0.1", "8080", "tcp://10.0.0.1:8080", "tcp"] {
                assert!(!is_of_a_service(setting.env, text), "{}", setting.env);
            }
            assert!(!FOREIGN_PREFIXES.iter().any(|prefix| setting.env.starts_with(prefix)), "{}", setting.env);
        }
    }
}

//! The table of settings: names, defaults and what each takes. Help, errors and `gostream config` all read it.

/// One setting under its three names.
#[derive(Debug)]
pub struct Setting {
    /// In the file: `a.b` is `b` in the table `[a]`.
    pub key: &'static str,
    /// On the command line, without the dashes.
    pub flag: &'static str,
    /// In the environment.
    pub env: &'static str,
    /// As shown by `gostream config`; empty when there is none.
    pub default: &'static str,
    /// Completes "takes …" in an error.
    pub takes: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// Never shown.
    pub secret: bool,
}

/// Everything that can be set.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        flag: "data-dir",
        env: "GOSTREAM_DATA_DIR",
        default: "./data",
        takes: "a directory",
        help: "Everything the server keeps: database, secret key",
        secret: false,
    },
    Setting {
        key: "database.url",
        flag: "database-url",
        env: "GOSTREAM_DATABASE_URL",
        default: "sqlite file in data_dir",
        takes: "sqlite:///path/file.db or postgres://user:password@host/database",
        help: "The database; SQLite in data_dir unless set",
        secret: true,
    },
    Setting {
        key: "http.listen",
        flag: "http-listen",
        env: "GOSTREAM_HTTP_LISTEN",
        default: "[::]:8080",
        takes: "an address and port such as [::]:8080 or 127.0.0.1:8080",
        help: "Page, API and HLS",
        secret: false,
    },
    Setting {
        key: "rtmp.listen",
        flag: "rtmp-listen",
        env: "GOSTREAM_RTMP_LISTEN",
        default: "[::]:1935",
        takes: "an address and port such as [::]:1935 or 127.0.0.1:1935",
        help: "RTMP ingest and play",
        secret: false,
    },
    Setting {
        key: "rtmps.listen",
        flag: "rtmps-listen",
        env: "GOSTREAM_RTMPS_LISTEN",
        default: "off",
        takes: "an address and port such as [::]:1936, or off",
        help: "RTMPS ingest; needs a certificate",
        secret: false,
    },
    Setting {
        key: "tls.cert",
        flag: "tls-cert",
        env: "GOSTREAM_TLS_CERT",
        default: "",
        takes: "a PEM file",
        help: "Certificate chain for HTTPS and RTMPS; reloaded when it changes",
        secret: false,
    },
    Setting {
        key: "tls.key",
        flag: "tls-key",
        env: "GOSTREAM_TLS_KEY",
        default: "",
        takes: "a PEM file",
        help: "Private key of the certificate",
        secret: false,
    },
    Setting {
        key: "metrics.listen",
        flag: "metrics-listen",
        env: "GOSTREAM_METRICS_LISTEN",
        default: "127.0.0.1:9464",
        takes: "an address and port such as 127.0.0.1:9464, or off",
        help: "Prometheus /metrics",
        secret: false,
    },
    Setting {
        key: "public_url",
        flag: "public-url",
        env: "GOSTREAM_PUBLIC_URL",
        default: "",
        takes: "a URL such as https://stream.example.org",
        help: "Base of the links that API and page show; from the request unless set",
        secret: false,
    },
    Setting {
        key: "secret_key",
        flag: "secret-key",
        env: "GOSTREAM_SECRET_KEY",
        default: "",
        takes: "32 bytes in base64",
        help: "Signs tokens and encrypts destination keys; data_dir/secret.key unless set",
        secret: true,
    },
    Setting {
        key: "secret_key_file",
        flag: "secret-key-file",
        env: "GOSTREAM_SECRET_KEY_FILE",
        default: "",
        takes: "a file that holds 32 bytes in base64",
        help: "The same, read from a file",
        secret: false,
    },
    Setting {
        key: "signup",
        flag: "signup",
        env: "GOSTREAM_SIGNUP",
        default: "open",
        takes: "open or closed",
        help: "Who may make accounts; closed: by `gostream user add` only",
        secret: false,
    },
    Setting {
        key: "egress.allow",
        flag: "egress-allow",
        env: "GOSTREAM_EGRESS_ALLOW",
        default: "",
        takes: "address ranges such as 10.1.0.0/16, separated by commas",
        help: "Private address ranges that relays may reach",
        secret: false,
    },
    Setting {
        key: "ingest.reconnect_grace",
        flag: "ingest-reconnect-grace",
        env: "GOSTREAM_INGEST_RECONNECT_GRACE",
        default: "60s",
        takes: "a duration such as 60s or 5m, at most 1h",
        help: "How long destinations are held open after the encoder drops",
        secret: false,
    },
    Setting {
        key: "log.format",
        flag: "log-format",
        env: "GOSTREAM_LOG_FORMAT",
        default: "text on a terminal, else json",
        takes: "text or json",
        help: "The form of log lines",
        secret: false,
    },
    Setting {
        key: "log.level",
        flag: "log-level",
        env: "GOSTREAM_LOG",
        default: "info",
        takes: "error, warn, info, debug, trace or directives such as info,gostream=debug",
        help: "How much is logged",
        secret: false,
    },
];

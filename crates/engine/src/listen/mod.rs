//! Ports: accepts connections and reads what each requests.

pub(crate) mod rtmp;
mod session;

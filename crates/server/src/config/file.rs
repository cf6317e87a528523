//! Settings in a TOML file.

use std::{io, path::Path};

use super::{error::Error, source::Source, table::SETTINGS, values::Values};

/// The file that is read if it exists and `--config` is not given.
const DEFAULT_FILE: &str = "gostream.toml";

pub(super) fn read(file: Option<&Path>, values: &mut Values) -> Result<(), Error> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => return Ok(()),
        Err(source) => return Err(Error::Read { file: path.to_owned(), source }),
    };
    let table: toml::Table = toml::from_str(&text).map_err(|error| Error::Syntax {
        file: path.to_owned(),
        line: error
            .span()
            .map_or(1, |span| 1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count()),
        message: error.message().replace('\n', ", "),
    })?;
    let mut leaves = Vec::new();
    flatten("", &table, &mut leaves);
    for (key, text) in leaves {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(Error::UnknownKey { file: path.to_owned(), key });
        };
        values.put(setting, text, Source::File(path.to_owned()));
    }
    Ok(())
}

fn flatten(prefix: &str, table: &toml::Table, leaves: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, leaves),
            toml::Value::Array(items) => leaves.push((key, items.iter().map(text_of).collect::<Vec<_>>().join(","))),
            scalar => leaves.push((key, text_of(scalar))),
        }
    }
}

fn text_of(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

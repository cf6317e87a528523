//! Names in rows, which this version or another one wrote.

use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer as _, value::Error},
};

/// A name from a row. It is shown as it was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(in crate::api) enum Recorded<T> {
    /// A name that this version knows.
    Known(T),
    /// A name that another version or program wrote.
    Other(String),
}

impl<T: for<'a> Deserialize<'a>> Recorded<T> {
    /// Parses the text in the row.
    pub(in crate::api) fn read(text: String) -> Self {
        match T::deserialize(text.as_str().into_deserializer()) {
            Ok(word) => Self::Known(word),
            Err(error) => {
                let _: Error = error;
                Self::Other(text)
            }
        }
    }
}

impl<T: Copy> Recorded<T> {
    /// `None` for an unknown name.
    pub(in crate::api) fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use gostream_store::EventState;

    use super::*;

    #[test]
    fn a_name_of_another_version_is_shown_unchanged() {
        for (text, known) in [("live", Some(EventState::Live)), ("standby", None), ("Live", None), ("", None)] {
            let word = Recorded::<EventState>::read(text.to_owned());
            assert_eq!(word.known(), known);
            assert_eq!(serde_json::to_value(word).expect("is JSON"), text);
        }
    }
}

//! Words that rows hold: of this version, or of another one.

use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer as _, value::Error},
};

/// A word of a row, shown as it is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(in crate::api) enum Recorded<T> {
    /// This version knows it.
    Known(T),
    /// Another version, or another program, wrote it.
    Other(String),
}

impl<T: for<'a> Deserialize<'a>> Recorded<T> {
    /// By the text in the row.
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
    /// `None` for a word that this version does not know.
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
    fn a_word_of_another_version_is_shown_as_it_is() {
        for (text, known) in [("live", Some(EventState::Live)), ("standby", None), ("Live", None), ("", None)] {
            let word = Recorded::<EventState>::read(text.to_owned());
            assert_eq!(word.known(), known);
            assert_eq!(serde_json::to_value(word).expect("is JSON"), text);
        }
    }
}

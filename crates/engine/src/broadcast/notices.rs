//! What the owner of a stream should know of it: each thing once, with what to set in the encoder.

use std::time::SystemTime;

use crate::status::Notice;

/// The notices of one broadcast, oldest first; one per code, so their number is bounded by that of the codes.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    all: Vec<Notice>,
    /// How many of them the history was given.
    reported: usize,
}

impl Notices {
    /// Adds a notice, or replaces the message of the one with that code.
    pub(crate) fn add(&mut self, code: &'static str, message: String) {
        match self.all.iter_mut().find(|notice| notice.code == code) {
            Some(known) => known.message = message,
            None => self.all.push(Notice { code, message, since: SystemTime::now() }),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Notice] {
        &self.all
    }

    /// Those that were not given to the history yet.
    pub(crate) fn take_new(&mut self) -> Vec<Notice> {
        let new = self.all.get(self.reported..).unwrap_or_default().to_vec();
        self.reported = self.all.len();
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_listed_and_reported_once() {
        let mut notices = Notices::default();
        notices.add("clock_drift", "2 %".to_owned());
        notices.add("start_codes", "converted".to_owned());
        notices.add("clock_drift", "4 %".to_owned());
        let messages: Vec<_> = notices.all().iter().map(|notice| notice.message.as_str()).collect();
        assert_eq!(messages, ["4 %", "converted"]);
        assert_eq!(notices.take_new().len(), 2);
        assert!(notices.take_new().is_empty());
    }
}

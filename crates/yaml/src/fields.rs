//! The view that a struct's decoder takes of a mapping.
//!
//! Rule: every key is either asked for or reported as unknown.

use crate::node::{Entry, Node};
use crate::report::Report;
use crate::suggest::nearest;

/// Decodes a mapping. `build` asks for its keys; those that it did not ask for are then reported.
/// Null counts as an empty mapping, as in Go.
pub fn mapping<T>(node: &Node, report: &mut Report, build: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>) -> Option<T> {
    let entries = match node.as_mapping() {
        Some(entries) => entries,
        None if node.is_null() => &[],
        None => {
            report.expected(node, "a mapping");
            return None;
        }
    };
    let mut fields = Fields { node, entries, report, asked: Vec::new() };
    let value = build(&mut fields);
    fields.refuse_unknown_keys();
    value
}

/// The keys of a mapping that is being decoded.
#[derive(Debug)]
pub struct Fields<'n, 'r> {
    node: &'n Node,
    entries: &'n [Entry],
    report: &'r mut Report,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n, '_> {
    /// The value of a key that must be there. A null is as good as nothing. `None` means that an error
    /// was reported.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        decoder: impl FnOnce(&Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        match self.raw(key) {
            Some(value) if !value.is_null() => self.report.within_key(key, |report| decoder(value, report)),
            found => {
                let position = found.map_or(self.node.position, |value| value.position);
                self.report.within_key(key, |report| report.error_at(position, "required key is missing"));
                None
            }
        }
    }

    /// The value of a key that may be missing or null. `None` means that, or that an error was reported.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        decoder: impl FnOnce(&Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(key).filter(|value| !value.is_null())?;
        self.report.within_key(key, |report| decoder(value, report))
    }

    /// The value of a key, or `default` where it is missing, null or wrong (which was then reported).
    pub fn or<T>(&mut self, key: &'static str, decoder: impl FnOnce(&Node, &mut Report) -> Option<T>, default: T) -> T {
        self.optional(key, decoder).unwrap_or(default)
    }

    /// Whether the key is there with a value that is not null. Does not count as asked for.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.key.text == key && !entry.value.is_null())
    }

    /// The node of a key, undecoded; null included. Counts as asked for.
    pub fn raw(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.report.note_key(key, None);
        self.entries.iter().find(|entry| &*entry.key.text == key).map(|entry| &entry.value)
    }

    /// Takes keys that have no effect here, whatever their values.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        keys.iter().for_each(|key| self.report.note_key(key, None));
        self.asked.extend_from_slice(keys);
    }

    /// Refuses a key that is known but not supported, with the reason.
    pub fn unsupported(&mut self, key: &'static str, reason: &str) {
        self.asked.push(key);
        self.report.note_key(key, Some(reason));
        if let Some(entry) = self.entries.iter().find(|entry| &*entry.key.text == key) {
            let position = entry.key.position;
            self.report.within_key(key, |report| report.error_at(position, format!("not supported: {reason}")));
        }
    }

    /// Says that the value of a key is wrong; at the mapping itself where the key is missing.
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        let value = self.entries.iter().find(|entry| &*entry.key.text == key).map(|entry| &entry.value);
        let position = value.unwrap_or(self.node).position;
        self.report.within_key(key, |report| report.error_at(position, message));
    }

    /// Says that the mapping as a whole is wrong.
    pub fn error_here(&mut self, message: impl Into<String>) {
        self.report.error(self.node, message);
    }

    /// The report, for checks of the decoder's own.
    pub const fn report(&mut self) -> &mut Report {
        self.report
    }

    /// The mapping itself.
    #[must_use]
    pub const fn node(&self) -> &'n Node {
        self.node
    }

    fn refuse_unknown_keys(&mut self) {
        for entry in self.entries {
            let name = &*entry.key.text;
            if self.asked.contains(&name) {
                continue;
            }
            let hint = nearest(name, self.asked.iter().copied().filter(|known| !self.has(known)));
            let message = match hint {
                Some(known) => format!("unknown key (did you mean `{known}`?)"),
                None => "unknown key".to_owned(),
            };
            let position = entry.key.position;
            self.report.within_key(name, |report| report.error_at(position, message));
        }
    }
}

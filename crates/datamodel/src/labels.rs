//! Label sets: the identity of a series.
//!
//! - [`Labels`]: sorted by name, unique, immutable, one allocation, cheap to clone and to compare.
//! - [`LabelsBuilder`]: changes to a base set.
//!
//! ```text
//! one Arc<str>:  len name len value len name len value …     (len: base-64 varint in ASCII)
//! ```
//!
//! Rule: a label with an empty value is the same as no label, so none is ever stored.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use twox_hash::XxHash64;

/// Name of the label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of `name="value"` pairs without duplicates and without empty values.
///
/// The lengths are written as ASCII (six bits a byte, bit 6 set while more follow), so that the whole
/// buffer is valid UTF-8 and a slice of it needs no unsafe code.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Labels {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// Builds a set from pairs in any order. Of several pairs with one name the last counts; pairs with
    /// an empty value are left out.
    #[must_use]
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs that are already sorted by name, unique and not empty, as the storage
    /// keeps them. Falls back to sorting when they are not.
    #[must_use]
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        let sorted = pairs.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
        if !sorted || pairs.iter().any(|(_, value)| value.is_empty()) {
            return Self::from_pairs(pairs.iter().copied());
        }
        encode(pairs.iter().copied())
    }

    /// The pairs, ascending by name.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().take_while(|(n, _)| *n <= name).find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The metric name, if the set has one.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that the set occupies, for limits and memory accounts.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// The set without those labels for which `keep` is false.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        if self.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        encode(self.iter().filter(|(name, _)| keep(name)))
    }

    /// The set without the metric name.
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        self.filter(|name| name != METRIC_NAME)
    }

    /// The hash that Prometheus uses for `limit_ratio` and for spreading targets, of its usual build: xxHash64
    /// over each name and value with its length before it (one byte, from 255 on 0xff and three bytes).
    /// Stable over processes and versions.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        let mut hasher = XxHash64::with_seed(0);
        for text in self.iter().flat_map(|(name, value)| [name, value]) {
            match u8::try_from(text.len()) {
                Ok(length) if length < u8::MAX => hasher.write(&[length]),
                _ => {
                    let [low, middle, high, ..] = text.len().to_le_bytes();
                    hasher.write(&[u8::MAX, low, middle, high]);
                }
            }
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Label by label: first by name, then by value; a prefix comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The pairs of a set, ascending by name.
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a str);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some((take(&mut self.0), take(&mut self.0)))
    }
}

/// Takes one length and the text of that length off the front.
fn take<'a>(rest: &mut &'a str) -> &'a str {
    let mut len = 0;
    let mut shift = 0;
    let mut used = 0;
    for byte in rest.bytes() {
        used += 1;
        len |= usize::from(byte & 0x3f) << shift;
        shift += 6;
        if byte & 0x40 == 0 {
            break;
        }
    }
    let (text, after) = rest.split_at(used).1.split_at(len);
    *rest = after;
    text
}

fn put(buffer: &mut String, text: &str) {
    let mut len = text.len();
    loop {
        // Six bits fit a byte.
        let low = (len & 0x3f) as u8;
        len >>= 6;
        buffer.push(char::from(if len > 0 { low | 0x40 } else { low }));
        if len == 0 {
            break;
        }
    }
    buffer.push_str(text);
}

fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
    let mut buffer = String::new();
    for (name, value) in pairs {
        put(&mut buffer, name);
        put(&mut buffer, value);
    }
    Labels(Arc::from(buffer))
}

/// Changes to a label set.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder(BTreeMap<Box<str>, Box<str>>);

impl LabelsBuilder {
    /// Starts from a set.
    #[must_use]
    pub fn new(base: &Labels) -> Self {
        Self(base.iter().map(|(name, value)| (Box::from(name), Box::from(value))).collect())
    }

    /// The present value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(Box::from(name), Box::from(value));
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.0.remove(name);
        self
    }

    /// Removes the labels for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.0.retain(|name, value| keep(name, value));
        self
    }

    /// The pairs as they stand, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The changed set.
    #[must_use]
    pub fn build(&self) -> Labels {
        encode(self.iter())
    }
}

impl fmt::Display for Labels {
    /// As a selector: `name{label="value"}`, or `{…}` without a metric name that can stand outside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name().filter(|name| is_legacy_metric_name(name));
        if let Some(name) = name {
            f.write_str(name)?;
        }
        let mut rest = self.iter().filter(|(n, _)| name.is_none() || *n != METRIC_NAME).peekable();
        if name.is_some() && rest.peek().is_none() {
            return Ok(());
        }
        f.write_str("{")?;
        for (index, (label, value)) in rest.enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(label) {
                write!(f, "{label}={}", Quoted(value))?;
            } else {
                write!(f, "{}={}", Quoted(label), Quoted(value))?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the name needs no quotes as a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[must_use]
pub fn is_legacy_metric_name(name: &str) -> bool {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    name.bytes().next().is_some_and(start) && name.bytes().all(|byte| start(byte) || byte.is_ascii_digit())
}

/// Whether the name needs no quotes as a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

/// A text in double quotes with the escapes of Go's `strconv.Quote`, as Prometheus prints it.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                c if c < ' ' || c == '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c))?,
                c if c.is_control() || c == '\u{feff}' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn set_is_sorted_unique_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.len(), 2);
    }

    #[test]
    fn display_is_a_selector() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            assert_eq!(Labels::from_pairs(pairs.iter().copied()).to_string(), expected);
        };
        check(&[], "{}");
        check(&[(METRIC_NAME, "up")], "up");
        check(&[(METRIC_NAME, "up"), ("job", "a\"b\n")], "up{job=\"a\\\"b\\n\"}");
        check(&[(METRIC_NAME, "my.metric"), ("x", "1")], "{__name__=\"my.metric\", x=\"1\"}");
        check(&[("http.status", "200")], "{\"http.status\"=\"200\"}");
    }

    #[test]
    fn hash_is_over_lengths_and_texts() {
        let check = |labels: &Labels, bytes: &[u8]| {
            let mut hasher = XxHash64::with_seed(0);
            hasher.write(bytes);
            assert_eq!(labels.hash64(), hasher.finish(), "{labels}");
        };
        check(&Labels::empty(), b"");
        assert_eq!(Labels::empty().hash64(), 0xef46_db37_51d8_e999);
        check(&Labels::from_pairs([("a", "1"), ("bc", "23")]), b"\x01a\x011\x02bc\x0223");
        let long = "x".repeat(300);
        check(&Labels::from_pairs([("a", &long)]), &[b"\x01a\xff\x2c\x01\x00", long.as_bytes()].concat());
    }

    #[test]
    fn order_is_by_name_then_value_then_length() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(set(&[("a", "1")]) < set(&[("a", "2")]));
        assert!(set(&[("a", "2")]) < set(&[("b", "1")]));
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "1"), ("z", "1")]) < set(&[("b", "1")]));
    }

    proptest! {
        #[test]
        fn any_pairs_come_back(pairs in proptest::collection::btree_map(".{0,200}", ".{1,300}", 0..8)) {
            let labels = Labels::from_pairs(pairs.iter());
            let back: Vec<_> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let expected: Vec<_> = pairs.into_iter().collect();
            prop_assert_eq!(back, expected);
        }
    }
}

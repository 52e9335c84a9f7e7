//! The names in a certificate: `CN` is the user, each `O` a group.
//!
//! Pure: DER in, names out. A subject is a sequence of sets of pairs (kind, text):
//!
//! ```text
//! 31 len  30 len  06 03 55 04 03  0c len text   CN
//! 31 len  30 len  06 03 55 04 0a  13 len text   O
//! ```
//!
//! Rule: what cannot be read as a whole gives no names at all.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// `2.5.4.3`
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `2.5.4.10`
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `UTF8String`, `PrintableString`, `IA5String`: all that certificates of Kubernetes have.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// Longest name that is taken; X.509 itself allows 64 characters.
const MAX_NAME_BYTES: usize = 1_024;

/// Who a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The last `CN`, as Go takes it; empty without one.
    pub(crate) common_name: String,
    /// Each `O`, in order.
    pub(crate) organizations: Vec<String>,
}

impl Subject {
    /// The subject of the first certificate of a chain.
    pub(crate) fn of(chain: &[Vec<u8>]) -> Option<Self> {
        let der = CertificateDer::from(chain.first()?.as_slice());
        let certificate = EndEntityCert::try_from(&der).ok()?;
        Self::parse(certificate.subject())
    }

    /// Reads the content of a subject.
    pub(crate) fn parse(mut names: &[u8]) -> Option<Self> {
        let mut subject = Self::default();
        while !names.is_empty() {
            let mut set = take(&mut names, SET)?;
            while !set.is_empty() {
                let mut pair = take(&mut set, SEQUENCE)?;
                let kind = take(&mut pair, OBJECT_IDENTIFIER)?;
                let (tag, value) = element(&mut pair)?;
                if !pair.is_empty() {
                    return None;
                }
                if kind == COMMON_NAME {
                    subject.common_name = text(tag, value)?;
                } else if kind == ORGANIZATION {
                    subject.organizations.push(text(tag, value)?);
                }
            }
        }
        Some(subject)
    }
}

fn text(tag: u8, value: &[u8]) -> Option<String> {
    let is_short_text = TEXTS.contains(&tag) && value.len() <= MAX_NAME_BYTES;
    let text = std::str::from_utf8(value).ok().filter(|text| !text.chars().any(char::is_control))?;
    is_short_text.then(|| text.to_owned())
}

/// The content of the next element, which must be of this kind.
fn take<'a>(rest: &mut &'a [u8], expected: u8) -> Option<&'a [u8]> {
    element(rest).filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
}

/// Kind and content of the next element.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, after) = rest.split_first()?;
    let (first, mut after) = after.split_first()?;
    let len = if *first < 0x80 {
        usize::from(*first)
    } else {
        let (digits, behind) = after.split_at_checked(usize::from(*first & 0x7f))?;
        after = behind;
        if digits.is_empty() || digits.len() > 3 {
            return None;
        }
        digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit))
    };
    let (content, behind) = after.split_at_checked(len)?;
    *rest = behind;
    Some((*tag, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(kind: &[u8], tag: u8, value: &str) -> Vec<u8> {
        let wrap = |tag: u8, content: Vec<u8>| {
            let mut bytes = vec![tag, 0x82, u8::try_from(content.len() >> 8).unwrap(), (content.len() & 0xff) as u8];
            bytes.extend(content);
            bytes
        };
        let content = [wrap(OBJECT_IDENTIFIER, kind.to_vec()), wrap(tag, value.as_bytes().to_vec())].concat();
        wrap(SET, wrap(SEQUENCE, content))
    }

    #[test]
    fn user_and_groups_are_read() {
        let names = [
            pair(ORGANIZATION, 0x13, "system:masters"),
            pair(&[0x55, 0x04, 0x06], 0x13, "DE"),
            pair(COMMON_NAME, 0x0c, "jürgen"),
            pair(ORGANIZATION, 0x0c, "asr"),
        ];
        let subject = Subject::parse(&names.concat()).unwrap();
        assert_eq!(subject.common_name, "jürgen");
        assert_eq!(subject.organizations, ["system:masters", "asr"]);
        assert_eq!(Subject::parse(&[]), Some(Subject::default()));
    }

    #[test]
    fn what_cannot_be_read_gives_no_names() {
        let check = |bytes: &[u8]| assert_eq!(Subject::parse(bytes), None, "{bytes:?}");
        let good = pair(COMMON_NAME, 0x0c, "a");
        for end in 1..good.len() {
            check(&good[..end]);
        }
        // A text of two bytes a character, one with a line break, one that is too long.
        check(&pair(COMMON_NAME, 0x1e, "a"));
        check(&pair(COMMON_NAME, 0x0c, "a\nb"));
        check(&pair(COMMON_NAME, 0x0c, &"a".repeat(MAX_NAME_BYTES + 1)));
        check(&[SET, 0x80]);
        check(&[SET, 0x84, 0xff, 0xff, 0xff, 0xff]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let subject = Subject::parse(&bytes);
            proptest::prop_assert!(subject.is_none_or(|subject| subject.common_name.len() <= MAX_NAME_BYTES));
        }
    }
}

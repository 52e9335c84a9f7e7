//! Base 64 with the usual alphabet and padding: passwords in headers, certificates in kubeconfig files.
//!
//! Rule: what cannot have been made by [`encode`] is refused, but for white space.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A text that is no base 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid base64")]
pub struct Base64Error;

/// Encodes bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().enumerate().fold(0_usize, |word, (at, byte)| word | usize::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = ALPHABET.get(word >> (18 - 6 * at) & 63).copied().unwrap_or(b'=');
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Decodes a text; white space is skipped.
///
/// # Errors
///
/// The text is none.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let padding = digits.iter().rev().take_while(|byte| **byte == b'=').count();
    if !digits.len().is_multiple_of(4) || padding > 2 {
        return Err(Base64Error);
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for quad in digits.chunks(4) {
        let mut word = 0_u32;
        for digit in quad.iter().filter(|digit| **digit != b'=') {
            let value = ALPHABET.iter().position(|other| other == digit).ok_or(Base64Error)?;
            word = word << 6 | u32::try_from(value).unwrap_or(0);
        }
        let missing = quad.iter().filter(|digit| **digit == b'=').count();
        word <<= 6 * missing;
        let [_, rest @ ..] = word.to_be_bytes();
        bytes.extend_from_slice(rest.get(..3 - missing).unwrap_or_default());
    }
    let is_inner_padding = digits.iter().take(digits.len() - padding).any(|byte| *byte == b'=');
    if is_inner_padding { Err(Base64Error) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_of_the_specification_hold() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).unwrap(), plain.as_bytes());
        }
        for bad in ["Zg", "Z===", "Zg=a", "Z!==", "====", "Zg==Zg=="] {
            assert_eq!(decode(bad), Err(Base64Error), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text: String) {
            drop(decode(&text));
        }
    }
}

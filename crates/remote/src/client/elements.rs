//! Answers that are long lists, read while they come, so that a million series need no more memory than one.
//!
//! ```text
//! {"status":"success","data":[ {…}, {…}, … ],"warnings":[…]}
//!                              └─ one after the other ─┘      the rest is the envelope
//! ```
//!
//! Rule: an element and the envelope are bounded; what is kept of an element is the caller's.

use super::error::ClientError;

/// Largest element, and largest envelope.
pub const MAX_ELEMENT_BYTES: usize = 1024 * 1024;

/// Cuts the objects in the lists of a document's top level out of it.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// The element that is being read; its bytes go here instead of to the envelope.
    element: Option<Vec<u8>>,
    /// The list had an element: its commas belong to none of the two.
    had_element: bool,
    envelope: Vec<u8>,
}

impl Elements {
    /// Takes the next piece of the document; whole elements are given to `take`.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        for &byte in bytes {
            if self.in_text {
                self.in_text = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                self.keep(byte)?;
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' if self.depth == 2 && self.element.is_none() => {
                    self.element = Some(Vec::new());
                    self.had_element = true;
                }
                b'[' if self.depth == 1 => self.had_element = false,
                b',' if self.depth == 2 && self.element.is_none() && self.had_element => continue,
                _ => {}
            }
            self.keep(byte)?;
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 2
                        && let Some(element) = self.element.take()
                    {
                        take(&element)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8) -> Result<(), ClientError> {
        let into = self.element.as_mut().unwrap_or(&mut self.envelope);
        if into.len() == MAX_ELEMENT_BYTES {
            return Err(ClientError::TooLarge(MAX_ELEMENT_BYTES));
        }
        into.push(byte);
        Ok(())
    }

    /// The document without the elements.
    pub(crate) fn envelope(self) -> Vec<u8> {
        self.envelope
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_cut_out_wherever_the_pieces_end() {
        let text = r#"{"status":"success","data":[{"a":"}],\"{"}, {"b":{"c":[1,{}]}}],"warnings":["x","{y"],"e":[]}"#;
        for size in 1..text.len() {
            let (elements, envelope) = split(text.as_bytes(), size);
            assert_eq!(elements, [r#"{"a":"}],\"{"}"#, r#"{"b":{"c":[1,{}]}}"#], "{size}");
            assert_eq!(envelope, r#"{"status":"success","data":[ ],"warnings":["x","{y"],"e":[]}"#, "{size}");
        }
    }

    #[test]
    fn endless_element_is_refused() {
        let mut elements = Elements::default();
        elements.push(b"{\"data\":[{\"a\":\"", |_| Ok(())).unwrap();
        let error = elements.push(&vec![b'x'; MAX_ELEMENT_BYTES], |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "answer has more than 1048576 bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, text in r#"[{}\[\]",:a\\]{0,40}"#) {
            split(&bytes, 3);
            split(text.as_bytes(), 1);
        }
    }

    fn split(bytes: &[u8], size: usize) -> (Vec<String>, String) {
        let (mut elements, mut found) = (Elements::default(), Vec::new());
        for piece in bytes.chunks(size) {
            elements
                .push(piece, |element| {
                    found.push(String::from_utf8_lossy(element).into_owned());
                    Ok(())
                })
                .unwrap();
        }
        (found, String::from_utf8_lossy(&elements.envelope()).into_owned())
    }
}

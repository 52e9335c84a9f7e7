//! DNS messages: a question, and the records of an answer.
//!
//! Rule: an answer is hostile input: every length is checked, and a compressed name cannot loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of records that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Hosts and ports of a service.
    Srv,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

impl RecordType {
    /// The word of configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
            Self::Mx => "MX",
            Self::Ns => "NS",
        }
    }

    /// Reads the word of a configuration file, in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::A, Self::Aaaa, Self::Srv, Self::Mx, Self::Ns];
        all.into_iter().find(|record| record.as_str().eq_ignore_ascii_case(word))
    }

    const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Mx => 15,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Address(IpAddr),
    /// With a dot at its end.
    Host(String),
    /// Host with a dot at its end, and port.
    Service(String, u16),
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The records of the kind that was asked for, perhaps none.
    Records(Vec<Record>),
    /// There is no such name.
    NoName,
    /// The answer does not fit a datagram: ask again over TCP.
    Truncated,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It breaks the format.
    #[error("malformed answer")]
    Malformed,
    /// It answers another question.
    #[error("answer to another question")]
    Foreign,
    /// The server refuses or fails.
    #[error("server answered with code {0}")]
    Code(u8),
    /// The name is no domain name.
    #[error("not a domain name")]
    Name,
}

/// Longest name in a message.
const MAX_NAME_BYTES: usize = 255;

/// The most records that are read of one answer.
const MAX_RECORDS: usize = 4_096;

const CLASS_IN: u16 = 1;

/// The message that asks for records of a name.
pub(crate) fn question(id: u16, name: &str, record: RecordType) -> Result<Vec<u8>, MessageError> {
    // One question, recursion desired.
    let mut message = Vec::with_capacity(32 + name.len());
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    message.extend(encode_name(name)?);
    message.extend(record.code().to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Ok(message)
}

fn encode_name(name: &str) -> Result<Vec<u8>, MessageError> {
    let mut encoded = Vec::with_capacity(name.len() + 2);
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len)).ok_or(MessageError::Name)?;
        encoded.push(len);
        encoded.extend(label.bytes());
    }
    encoded.push(0);
    if encoded.len() > MAX_NAME_BYTES { Err(MessageError::Name) } else { Ok(encoded) }
}

/// Reads the answer to a question.
pub(crate) fn answer(message: &[u8], question: &[u8], record: RecordType) -> Result<Answer, MessageError> {
    let mut reader = Reader { message, at: 0 };
    let id = reader.word()?;
    let flags = reader.word()?;
    let counts = [reader.word()?, reader.word()?, reader.word()?, reader.word()?];
    let is_answer = flags & 0x8000 != 0;
    // Names are compared without case: some servers play with it, some resolvers change it.
    let echoed = message.get(12..question.len()).unwrap_or_default();
    let same = question.get(12..).is_some_and(|asked| asked.eq_ignore_ascii_case(echoed));
    if !is_answer || question.get(..2) != Some(&id.to_be_bytes()) || counts[0] != 1 || !same {
        return Err(MessageError::Foreign);
    }
    match flags & 0xf {
        0 => {}
        3 => return Ok(Answer::NoName),
        // Four bits.
        code => return Err(MessageError::Code(code as u8)),
    }
    if flags & 0x0200 != 0 {
        return Ok(Answer::Truncated);
    }
    reader.at = question.len();
    let mut records = Vec::new();
    for _ in 0..usize::from(counts[1]).min(MAX_RECORDS) {
        records.extend(reader.record(record)?);
    }
    Ok(Answer::Records(records))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let end = self.at.checked_add(len).ok_or(MessageError::Malformed)?;
        let bytes = self.message.get(self.at..end).ok_or(MessageError::Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        let bytes: [u8; 2] = self.take(2)?.try_into().map_err(|_never| MessageError::Malformed)?;
        Ok(u16::from_be_bytes(bytes))
    }

    /// A name, which may end in a pointer to an earlier one; with a dot at its end.
    fn name(&mut self) -> Result<String, MessageError> {
        let mut name = String::new();
        // Where reading goes on once a pointer was followed; pointers must lead back, so that they end.
        let mut resume = None;
        let mut limit = self.at;
        loop {
            match self.take(1)?.first().copied().unwrap_or(0) {
                0 => break,
                len @ 1..=63 => {
                    let label =
                        std::str::from_utf8(self.take(usize::from(len))?).map_err(|_bytes| MessageError::Malformed)?;
                    name.push_str(label);
                    name.push('.');
                }
                high @ 0xc0..=0xff => {
                    let low = self.take(1)?.first().copied().unwrap_or(0);
                    let target = (usize::from(high & 0x3f) << 8) | usize::from(low);
                    resume.get_or_insert(self.at);
                    if target >= limit {
                        return Err(MessageError::Malformed);
                    }
                    limit = target;
                    self.at = target;
                }
                _ => return Err(MessageError::Malformed),
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(MessageError::Malformed);
            }
        }
        self.at = resume.unwrap_or(self.at);
        Ok(name)
    }

    /// The next record, if it is of the wanted kind; aliases on the way to it are not.
    fn record(&mut self, wanted: RecordType) -> Result<Option<Record>, MessageError> {
        self.name()?;
        let (code, class) = (self.word()?, self.word()?);
        self.take(4)?;
        let len = usize::from(self.word()?);
        let end = self.at.checked_add(len).filter(|end| *end <= self.message.len()).ok_or(MessageError::Malformed)?;
        if code != wanted.code() || class != CLASS_IN {
            self.at = end;
            return Ok(None);
        }
        let record = match wanted {
            RecordType::A => {
                let octets: [u8; 4] = self.take(4)?.try_into().map_err(|_never| MessageError::Malformed)?;
                Record::Address(Ipv4Addr::from(octets).into())
            }
            RecordType::Aaaa => {
                let octets: [u8; 16] = self.take(16)?.try_into().map_err(|_never| MessageError::Malformed)?;
                Record::Address(Ipv6Addr::from(octets).into())
            }
            RecordType::Srv => {
                self.take(4)?;
                let port = self.word()?;
                Record::Service(self.name()?, port)
            }
            RecordType::Mx => {
                self.take(2)?;
                Record::Host(self.name()?)
            }
            RecordType::Ns => Record::Host(self.name()?),
        };
        if self.at != end { Err(MessageError::Malformed) } else { Ok(Some(record)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An answer with these flags and records (code and data, each owned by the name of the question).
    pub(crate) fn reply(question: &[u8], flags: u16, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&(0x8000 | flags).to_be_bytes());
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (code, data) in records {
            message.extend([0xc0, 12]);
            message.extend(code.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 5]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
        }
        message
    }

    #[test]
    fn records_of_each_kind_are_read() {
        let check = |record: RecordType, data: &[u8], expected: Record| {
            let question = question(7, "asr.example", record).unwrap();
            // An alias stands before the record, as it often does.
            let reply = reply(&question, 0, &[(5, vec![1, b'x', 0]), (record.code(), data.to_vec())]);
            assert_eq!(answer(&reply, &question, record), Ok(Answer::Records(vec![expected])));
        };
        check(RecordType::A, &[10, 0, 0, 7], Record::Address([10, 0, 0, 7].into()));
        check(RecordType::Aaaa, &[0; 16], Record::Address(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        check(
            RecordType::Srv,
            &[0, 1, 0, 2, 0x08, 0xdd, 1, b'a', 0xc0, 12],
            Record::Service("a.asr.example.".into(), 2269),
        );
        check(RecordType::Mx, &[0, 1, 1, b'm', 0], Record::Host("m.".into()));
        check(RecordType::Ns, &[0xc0, 16], Record::Host("example.".into()));
    }

    #[test]
    fn other_answers_are_told_apart() {
        let asked = question(7, "asr.example.", RecordType::A).unwrap();
        let read = |reply: &[u8]| answer(reply, &asked, RecordType::A);
        assert_eq!(read(&reply(&asked, 0, &[])), Ok(Answer::Records(vec![])));
        assert_eq!(read(&reply(&asked, 3, &[])), Ok(Answer::NoName));
        assert_eq!(read(&reply(&asked, 0x0200, &[])), Ok(Answer::Truncated));
        assert_eq!(read(&reply(&asked, 2, &[])), Err(MessageError::Code(2)));
        assert_eq!(read(&asked), Err(MessageError::Foreign));
        let other = question(8, "asr.example.", RecordType::A).unwrap();
        assert_eq!(read(&reply(&other, 0, &[])), Err(MessageError::Foreign));
        let other = question(7, "asr.exampla.", RecordType::A).unwrap();
        assert_eq!(read(&reply(&other, 0, &[])), Err(MessageError::Foreign));
        let upper = reply(&asked, 0, &[(1, vec![1, 2, 3, 4])]).to_ascii_uppercase();
        assert!(matches!(read(&upper), Ok(Answer::Records(records)) if records.len() == 1));
    }

    #[test]
    fn hostile_answers_are_refused() {
        let asked = question(7, "a.b", RecordType::Ns).unwrap();
        let refuse = |data: &[u8]| {
            let reply = reply(&asked, 0, &[(2, data.to_vec())]);
            assert_eq!(answer(&reply, &asked, RecordType::Ns), Err(MessageError::Malformed), "{data:?}");
        };
        // Where the data of the record begin.
        let own = u8::try_from(asked.len() + 12).unwrap();
        refuse(&[0xc0, own]);
        refuse(&[1, b'x', 0xc0, own]);
        refuse(&[0xc0, 0xff]);
        refuse(&[63, b'x']);
        refuse(&[0x80, 0]);
        refuse(&[0, 0]);
        refuse(&[]);
        let whole = reply(&asked, 0, &[(2, vec![0xc0, 12])]);
        for len in 0..whole.len() {
            assert!(answer(&whole[..len], &asked, RecordType::Ns).is_err(), "{len}");
        }
        assert_eq!(question(1, "a..b", RecordType::A), Err(MessageError::Name));
        assert_eq!(question(1, &"x".repeat(64), RecordType::A), Err(MessageError::Name));
        assert_eq!(question(1, &"x.".repeat(200), RecordType::A), Err(MessageError::Name));
    }
}

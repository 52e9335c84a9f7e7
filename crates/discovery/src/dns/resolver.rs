//! Asking name servers, as the system's resolver is configured.
//!
//! Rule: nothing is cached; every question has a time limit, and an answer must come from whom was asked.

use std::hash::Hasher;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use twox_hash::XxHash64;

use super::message::{Answer, MessageError, Record, RecordType, answer, question};

/// How long one server may take for one question, as the system's default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most servers and search domains that are used, as in glibc.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;

/// The largest datagram that is read; what is longer comes over TCP.
const MAX_DATAGRAM_BYTES: usize = 4_096;

/// Why a name has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The configuration of the resolver cannot be read.
    #[error("cannot read `{0}`")]
    Config(PathBuf, #[source] io::Error),
    /// The configuration names no server.
    #[error("no name server is configured")]
    NoServer,
    /// No answer from a server.
    #[error("no answer from name server {0}")]
    Exchange(SocketAddr, #[source] io::Error),
    /// An answer that cannot be used.
    #[error("bad answer from name server {0}")]
    Message(SocketAddr, #[source] MessageError),
    /// The name itself is wrong.
    #[error("not a domain name: `{0}`")]
    Name(String),
}

/// Whom to ask, and how short names are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverConfig {
    /// The name servers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// The domains that short names are completed with.
    pub search: Vec<String>,
    /// How many dots make a name long.
    pub ndots: usize,
}

impl ResolverConfig {
    /// Reads the text of a `resolv.conf`. Lines that are not understood are passed over, as every resolver
    /// does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut config = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            match words.next() {
                Some("nameserver") => {
                    let address: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
                    config.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => config.search = words.map(str::to_owned).take(MAX_SEARCH).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    config.ndots = ndots.unwrap_or(config.ndots).min(15);
                }
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        config.servers.truncate(MAX_SERVERS);
        config
    }

    /// The full names that a name may mean, the likeliest first.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let completed = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_end_matches('.')));
        let mut candidates: Vec<String> = completed.collect();
        let own = format!("{name}.");
        if name.matches('.').count() >= self.ndots {
            candidates.insert(0, own);
        } else {
            candidates.push(own);
        }
        candidates
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Fixed(ResolverConfig),
}

/// Looks names up.
#[derive(Clone, Debug)]
pub struct Resolver {
    source: Source,
    id_seed: u64,
    asked: u64,
}

impl Resolver {
    /// Asks as `/etc/resolv.conf` says at each look-up. `id_seed` should be random: the numbers of questions
    /// come from it, and who can guess them can forge answers.
    #[must_use]
    pub fn system(id_seed: u64) -> Self {
        Self { source: Source::File(PathBuf::from("/etc/resolv.conf")), id_seed, asked: 0 }
    }

    /// Asks as it is told. For `id_seed` see [`system`](Self::system).
    #[must_use]
    pub const fn with_config(config: ResolverConfig, id_seed: u64) -> Self {
        Self { source: Source::Fixed(config), id_seed, asked: 0 }
    }

    /// The records of a name; none if it does not exist.
    pub(super) async fn look_up(&mut self, name: &str, record: RecordType) -> Result<Vec<Record>, DnsError> {
        let config = match &self.source {
            Source::Fixed(config) => config.clone(),
            Source::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                ResolverConfig::parse(&text.map_err(|error| DnsError::Config(path.clone(), error))?)
            }
        };
        let mut failure = None;
        for candidate in config.candidates(name) {
            match self.ask_servers(&config.servers, &candidate, record).await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        // A name that one server knows nothing of may exist: only if all say so, it does not.
        failure.map_or_else(|| Ok(Vec::new()), Err)
    }

    /// The records of a full name; `None` if there is no such name.
    async fn ask_servers(
        &mut self,
        servers: &[SocketAddr],
        name: &str,
        record: RecordType,
    ) -> Result<Option<Vec<Record>>, DnsError> {
        let mut failure = DnsError::NoServer;
        for server in servers {
            self.asked = self.asked.wrapping_add(1);
            let mut hasher = XxHash64::with_seed(self.id_seed);
            hasher.write_u64(self.asked);
            // Any sixteen bits of the hash.
            let id = hasher.finish() as u16;
            let message = question(id, name, record).map_err(|_name| DnsError::Name(name.to_owned()))?;
            match ask(*server, &message, record).await {
                Ok(records) => return Ok(records),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

async fn ask(server: SocketAddr, message: &[u8], record: RecordType) -> Result<Option<Vec<Record>>, DnsError> {
    let read = |reply: &[u8]| answer(reply, message, record).map_err(|error| DnsError::Message(server, error));
    let failed = |error| DnsError::Exchange(server, error);
    let mut found = read(&limited(over_udp(server, message)).await.map_err(failed)?)?;
    if found == Answer::Truncated {
        found = read(&limited(over_tcp(server, message)).await.map_err(failed)?)?;
    }
    match found {
        Answer::Records(records) => Ok(Some(records)),
        Answer::NoName => Ok(None),
        Answer::Truncated => Err(DnsError::Message(server, MessageError::Malformed)),
    }
}

async fn limited(exchange: impl Future<Output = io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    timeout(TIMEOUT, exchange).await.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn over_udp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // The kernel then passes on what comes from the server only.
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut reply = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let len = socket.recv(&mut reply).await?;
        // Another number: a late answer to an earlier question, or a forged one. Wait on.
        if reply.get(..2) == message.get(..2) {
            reply.truncate(len);
            return Ok(reply);
        }
    }
}

async fn over_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], message].concat()).await?;
    let len = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(len)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_servers_and_domains() {
        let text = "# comment\nnameserver 10.96.0.10\nnameserver\t::1\nnameserver bad\n\
                    search ns.svc.cluster.local svc.cluster.local\noptions timeout:1 ndots:5\n";
        let config = ResolverConfig::parse(text);
        assert_eq!(config.servers, ["10.96.0.10:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(config.ndots, 5);
        assert_eq!(
            config.candidates("asr.ns"),
            ["asr.ns.ns.svc.cluster.local.", "asr.ns.svc.cluster.local.", "asr.ns."]
        );
        assert_eq!(config.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f.");
        assert_eq!(config.candidates("asr."), ["asr."]);
        assert_eq!(ResolverConfig::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}

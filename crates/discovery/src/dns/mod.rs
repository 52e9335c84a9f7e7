//! Groups that the domain name system answers.
//!
//! - [`DnsDiscoverer`]: looks its names up again and again; one group for each name.
//! - [`Resolver`]: whom to ask. `message`: what is said.
//!
//! Rule: a name that cannot be looked up keeps its last targets; one that does not exist has none.

mod message;
mod resolver;

use std::net::IpAddr;
use std::time::Duration;

use datamodel::{Labels, LabelsBuilder};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use message::{MessageError, RecordType};
pub use resolver::{DnsError, Resolver, ResolverConfig};

use crate::metrics::DiscoveryMetrics;
use crate::{ADDRESS, Discoverer, DiscovererFuture, TargetGroup, Updates};
use message::Record;

/// The label with the name that was looked up.
pub const META_DNS_NAME: &str = "__meta_dns_name";
const META_DNS_SRV_TARGET: &str = "__meta_dns_srv_record_target";
const META_DNS_SRV_PORT: &str = "__meta_dns_srv_record_port";
const META_DNS_MX_TARGET: &str = "__meta_dns_mx_record_target";
const META_DNS_NS_TARGET: &str = "__meta_dns_ns_record_target";

/// Looks names up (`dns_sd_configs`).
#[derive(Debug)]
pub struct DnsDiscoverer {
    names: Vec<String>,
    record: RecordType,
    /// Unused by [`RecordType::Srv`], whose records bring their own.
    port: u16,
    refresh_interval: Duration,
    resolver: Resolver,
    metrics: DiscoveryMetrics,
}

impl DnsDiscoverer {
    /// Looks the names up at once and then every `refresh_interval`. The port is that of all targets but
    /// those of SRV records.
    #[must_use]
    pub fn new(
        names: Vec<String>,
        record: RecordType,
        port: u16,
        refresh_interval: Duration,
        resolver: Resolver,
        metrics: DiscoveryMetrics,
    ) -> Self {
        // An interval of zero would never yield.
        let refresh_interval = refresh_interval.max(Duration::from_millis(1));
        Self { names, record, port, refresh_interval, resolver, metrics }
    }

    async fn watch(mut self, updates: Updates) {
        let mut ticks = interval(self.refresh_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let groups = self.refresh().await;
            if !groups.is_empty() && updates.send(groups).await.is_err() {
                return;
            }
        }
    }

    /// The groups of all names that could be looked up.
    async fn refresh(&mut self) -> Vec<TargetGroup> {
        let mut groups = Vec::with_capacity(self.names.len());
        for name in &self.names {
            self.metrics.dns_lookups.inc();
            match self.resolver.look_up(name, self.record).await {
                Ok(records) => {
                    let target = |record| target(name, self.record, record, self.port);
                    let targets = records.iter().map(target).collect();
                    groups.push(TargetGroup { source: name.as_str().into(), labels: Labels::empty(), targets });
                }
                Err(error) => {
                    self.metrics.dns_failures.inc();
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(name, %error, cause, "cannot look up targets; the last ones stay");
                }
            }
        }
        groups
    }
}

impl Discoverer for DnsDiscoverer {
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture {
        Box::pin(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.watch(updates) => {}
            }
        })
    }
}

fn target(name: &str, asked: RecordType, record: &Record, port: u16) -> Labels {
    let mut labels = LabelsBuilder::default();
    labels.set(META_DNS_NAME, name);
    match record {
        Record::Address(IpAddr::V4(address)) => labels.set(ADDRESS, &format!("{address}:{port}")),
        Record::Address(IpAddr::V6(address)) => labels.set(ADDRESS, &format!("[{address}]:{port}")),
        Record::Service(host, port) => {
            labels.set(META_DNS_SRV_TARGET, host).set(META_DNS_SRV_PORT, &port.to_string());
            labels.set(ADDRESS, &format!("{}:{port}", host.trim_end_matches('.')))
        }
        Record::Host(host) => {
            labels.set(if asked == RecordType::Mx { META_DNS_MX_TARGET } else { META_DNS_NS_TARGET }, host);
            labels.set(ADDRESS, &format!("{}:{port}", host.trim_end_matches('.')))
        }
    };
    labels.build()
}

#[cfg(test)]
mod tests {
    use datamodel::registry::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};

    use super::message::tests::reply;
    use super::*;

    fn discoverer(server: std::net::SocketAddr, names: &[&str], record: RecordType) -> DnsDiscoverer {
        let config = ResolverConfig { servers: vec![server], search: vec!["example".to_owned()], ndots: 1 };
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let metrics = DiscoveryMetrics::new(&Registry::new()).unwrap();
        let resolver = Resolver::with_config(config, 42);
        DnsDiscoverer::new(names, record, 2269, Duration::from_secs(30), resolver, metrics)
    }

    /// Code and data.
    type TestRecord = (u16, Vec<u8>);

    /// Answers one question for each entry, with these flags and records; a forged answer comes first.
    async fn serve(socket: &UdpSocket, answers: &[(u16, &[TestRecord])]) {
        for (flags, records) in answers {
            let mut question = [0; 512];
            let (len, client) = socket.recv_from(&mut question).await.unwrap();
            let mut forged = reply(&question[..len], 0, &[(1, vec![6, 6, 6, 6])]);
            forged[0] ^= 1;
            socket.send_to(&forged, client).await.unwrap();
            socket.send_to(&reply(&question[..len], *flags, records), client).await.unwrap();
        }
    }

    fn addresses(groups: &[TargetGroup]) -> Vec<Vec<&str>> {
        groups.iter().map(|group| group.targets.iter().filter_map(|target| target.get(ADDRESS)).collect()).collect()
    }

    #[tokio::test]
    async fn each_name_becomes_a_group_and_a_failing_one_keeps_its_targets() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut discoverer = discoverer(socket.local_addr().unwrap(), &["asr", "gone.", "broken."], RecordType::A);
        let two: &[TestRecord] = &[(1, vec![10, 0, 0, 1]), (1, vec![10, 0, 0, 2])];
        // `asr.example.`, `gone.`, `broken.`.
        let answers = [(0, two), (3, &[][..]), (2, &[][..])];
        let (groups, ()) = tokio::join!(discoverer.refresh(), serve(&socket, &answers));
        assert_eq!(addresses(&groups), [vec!["10.0.0.1:2269", "10.0.0.2:2269"], vec![]]);
        assert_eq!(groups.iter().map(|group| &*group.source).collect::<Vec<_>>(), ["asr", "gone."]);
        assert_eq!(groups[0].targets[0].get(META_DNS_NAME), Some("asr"));
        assert!((discoverer.metrics.dns_failures.get() - 1.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn long_answers_come_over_tcp() {
        // The same port in both protocols; the kernel gives it for one of them.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).await.unwrap();
        let mut discoverer = discoverer(address, &["asr."], RecordType::Srv);
        let tcp = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut question).await.unwrap();
            let whole = reply(&question, 0, &[(33, vec![0, 1, 0, 1, 0x08, 0xdd, 1, b'a', 0xc0, 12])]);
            stream.write_u16(u16::try_from(whole.len()).unwrap()).await.unwrap();
            stream.write_all(&whole).await.unwrap();
        };
        let (groups, (), ()) = tokio::join!(discoverer.refresh(), serve(&socket, &[(0x0200, &[])]), tcp);
        assert_eq!(addresses(&groups), [["a.asr:2269"]]);
        assert_eq!(groups[0].targets[0].get(META_DNS_SRV_TARGET), Some("a.asr."));
        assert_eq!(groups[0].targets[0].get(META_DNS_SRV_PORT), Some("2269"));
    }

    #[test]
    fn addresses_of_both_families_get_the_port() {
        let address = |record: Record| target("n", RecordType::Mx, &record, 80).get(ADDRESS).map(str::to_owned);
        assert_eq!(address(Record::Address("::1".parse().unwrap())).as_deref(), Some("[::1]:80"));
        assert_eq!(address(Record::Host("mail.example.".to_owned())).as_deref(), Some("mail.example:80"));
        assert_eq!(RecordType::parse("aaaa"), Some(RecordType::Aaaa));
        assert_eq!(RecordType::parse("TXT"), None);
    }
}

//! Targets that misbehave, over real sockets, beside one that does not.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datamodel::Labels;
use discovery::TargetGroup;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_client::TcpConnector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{FakeNet, World, config, show};
use crate::{ScrapeConfig, ScrapeLimits, TargetHealth};

/// How a target answers a request.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    /// These bytes, then the connection is closed.
    Say(Vec<u8>),
    /// These bytes, then nothing more.
    SayAndHang(Vec<u8>),
    /// These bytes, then others without end.
    Endless(Vec<u8>, &'static [u8]),
    /// These bytes, then one more now and then.
    Drip(Vec<u8>),
    /// A reset instead of an answer.
    Reset,
    /// This page, to one request after the other.
    KeepAlive(String),
}

pub(super) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";

pub(super) fn endless_page(text: &'static [u8]) -> Behaviour {
    Behaviour::Endless(format!("{HEAD}\r\n").into_bytes(), text)
}

pub(super) fn page(body: &[u8]) -> Behaviour {
    let head = format!("{HEAD}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    Behaviour::Say([head.as_bytes(), body].concat())
}

pub(super) fn say(text: &str) -> Behaviour {
    Behaviour::Say(text.as_bytes().to_vec())
}

pub(super) fn gzip_bomb() -> Behaviour {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b'a'; 50_000_000]).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("{HEAD}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    Behaviour::Say([head.as_bytes(), &body].concat())
}

/// A frame whose every four bytes stand for 128 KiB.
fn zstd_bomb() -> Behaviour {
    let mut body = vec![0x28, 0xB5, 0x2F, 0xFD, 0, 13 << 3];
    for _ in 0..400 {
        body.extend_from_slice(&[0x02, 0x00, 0x10, b'a']);
    }
    let head = format!("{HEAD}content-encoding: zstd\r\ncontent-length: {}\r\n\r\n", body.len());
    Behaviour::Say([head.as_bytes(), &body].concat())
}

#[tokio::test]
async fn hostile_targets_fail_by_name_and_do_not_disturb_the_healthy_one() {
    let partial = format!("{HEAD}content-length: 100\r\n\r\nm 1\n").into_bytes();
    let long_line = [b"m{x=\"".as_slice(), &vec![b'a'; 300_000], b"\"} 1\n"].concat();
    let cases: Vec<(Behaviour, &str)> = vec![
        (Behaviour::SayAndHang(vec![]), "no complete answer within 1s"),
        (Behaviour::SayAndHang(partial.clone()), "no complete answer within 1s"),
        (Behaviour::Drip(partial.clone()), "no complete answer within 1s"),
        (Behaviour::Say(partial), "broken HTTP answer: "),
        (Behaviour::Reset, "broken HTTP answer: "),
        (Behaviour::Say(vec![]), "broken HTTP answer: "),
        (say("220 smtp.example ESMTP\r\n"), "broken HTTP answer: "),
        (Behaviour::Endless(HEAD.as_bytes().to_vec(), b"x: y\r\n"), "broken HTTP answer: "),
        (endless_page(b"m 1\n"), "body exceeds its limit of 1000000 bytes"),
        (endless_page(b"aaaaaaaa"), "body exceeds its limit of 1000000 bytes"),
        (gzip_bomb(), "body exceeds its limit of 1000000 bytes"),
        (zstd_bomb(), "body exceeds its limit of 1000000 bytes"),
        (page(&long_line), "page breaks its format: line 1, column "),
        (page(b"\x00\xff\xfe garbage"), "page breaks its format: line 1, column "),
        (page(b"<html>not metrics</html>\n"), "page breaks its format: line 1, column "),
        (say("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\nm 1\n"), "unsupported content type: `text/html`"),
        (say("HTTP/1.1 500 Oops\r\n\r\n"), "server returned HTTP status 500 Internal Server Error"),
        (
            say("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: br\r\n\r\nm 1\n"),
            "unsupported content encoding: `br`",
        ),
    ];
    let mut servers = JoinSet::new();
    let mut addresses = vec![serve(&mut servers, page(b"m 1\n")).await];
    for (behaviour, _) in &cases {
        addresses.push(serve(&mut servers, behaviour.clone()).await);
    }
    let config = ScrapeConfig {
        scrape_interval: Duration::from_secs(1),
        scrape_timeout: Duration::from_secs(1),
        limits: ScrapeLimits { body_size_limit: 1_000_000, ..ScrapeLimits::default() },
        ..config()
    };
    let group = TargetGroup::from_addresses("test", Labels::empty(), &addresses);
    let mut world = World::start_with(Arc::new(TcpConnector), Arc::new(FakeNet::default()), config, group).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let statuses = loop {
        let statuses = world.handle.active_targets();
        let scraped = statuses.iter().filter(|status| status.last_scrape.is_some()).count();
        if scraped == addresses.len() {
            break statuses;
        }
        assert!(Instant::now() < deadline, "{statuses:?}");
        sleep_until(Instant::now() + Duration::from_millis(20)).await;
    };
    for (address, (behaviour, expected)) in addresses.iter().skip(1).zip(&cases) {
        let status = statuses.iter().find(|status| status.labels.get("instance") == Some(address)).unwrap();
        assert_eq!(status.health, TargetHealth::Down, "{behaviour:?}");
        assert!(status.last_error.starts_with(expected), "{}, expected {expected}", status.last_error);
    }
    let healthy = addresses.first().unwrap();
    let ups = show(world.storage.as_ref(), "up", 0);
    let healthy = ups.iter().find(|line| line.contains(healthy.as_str())).unwrap();
    assert!(healthy.contains(" 1@") && !healthy.contains(" 0@"), "{healthy}");
    assert_eq!(show(world.storage.as_ref(), "m|a.*", 0).len(), 1, "no hostile page left a series");
    world.stop().await;
}

#[tokio::test]
async fn closed_port_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let config = ScrapeConfig {
        scrape_interval: Duration::from_millis(100),
        scrape_timeout: Duration::from_millis(100),
        ..config()
    };
    let group = TargetGroup::from_addresses("test", Labels::empty(), [&address]);
    let world = World::start_with(Arc::new(TcpConnector), Arc::new(FakeNet::default()), config, group).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        let failed = world.handle.active_targets().into_iter().find(|status| status.health == TargetHealth::Down);
        if let Some(status) = failed {
            break status.last_error;
        }
        assert!(Instant::now() < deadline);
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    };
    assert!(error.starts_with(&format!("cannot connect to `{address}`: Connection refused")), "{error}");
}

/// Starts a server on a free port; it ends with the set.
pub(super) async fn serve(servers: &mut JoinSet<()>, behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, behaviour.clone()));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, behaviour: Behaviour) {
    let mut request = [0; 4096];
    if stream.read(&mut request).await.is_err() {
        return;
    }
    match behaviour {
        Behaviour::Say(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.shutdown().await.ok();
        }
        Behaviour::SayAndHang(bytes) => {
            stream.write_all(&bytes).await.ok();
            std::future::pending::<()>().await;
        }
        Behaviour::Endless(head, tail) => {
            stream.write_all(&head).await.ok();
            let block = tail.repeat(1000);
            while stream.write_all(&block).await.is_ok() {}
        }
        Behaviour::Drip(head) => {
            stream.write_all(&head).await.ok();
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                if stream.write_all(b"#").await.is_err() {
                    return;
                }
            }
        }
        Behaviour::Reset => {
            stream.set_zero_linger().ok();
        }
        Behaviour::KeepAlive(body) => {
            let answer = format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len());
            while stream.write_all(answer.as_bytes()).await.is_ok() {
                // A request is small and comes in one piece.
                if !stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    return;
                }
            }
        }
    }
}

//! A page of this process as a scrape target: reached in memory, at a name that no network has.
//!
//! - [`OwnPage`]: the connector that knows it; [`own_page`] makes it, with where its connections arrive.
//!
//! ```text
//! scrape loop ─▶ OwnPage ─┬ the name of the page ─▶ in memory ─▶ web::serve_streams
//!                         └ every other name ─────▶ the network
//! ```
//!
//! Rule: nothing listens for it, so nobody else can ask, whatever protects the listeners of the server.

use std::io;
use std::sync::Arc;

use http_client::{ConnectFuture, Connector, Stream, TcpConnector};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// The host of the page. RFC 6761 keeps `.invalid` free of hosts.
pub const OWN_PAGE_HOST: &str = "kube-state.crescendo.invalid";

/// Bytes that may be on their way in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// Connects to the page in memory, and to everything else over the network.
#[derive(Clone, Debug)]
pub struct OwnPage {
    network: Arc<dyn Connector>,
    streams: mpsc::Sender<DuplexStream>,
}

/// A connector, and the connections to the page.
#[must_use]
pub fn own_page() -> (OwnPage, mpsc::Receiver<DuplexStream>) {
    let (streams, arriving) = mpsc::channel(web::MAX_WAITING_STREAMS);
    (OwnPage { network: Arc::new(TcpConnector), streams }, arriving)
}

impl Connector for OwnPage {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> ConnectFuture<'a> {
        if host != OWN_PAGE_HOST {
            return self.network.connect(host, port);
        }
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
            let ended = |_closed| io::Error::new(io::ErrorKind::NotConnected, "the page is not served any more");
            self.streams.send(theirs).await.map_err(ended)?;
            let stream: Box<dyn Stream> = Box::new(ours);
            Ok(stream)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn page_is_reached_in_memory_and_others_over_the_network() {
        let (connector, mut arriving) = own_page();
        let mut ours = connector.connect(OWN_PAGE_HOST, 80).await.unwrap();
        ours.write_all(b"question").await.unwrap();
        let mut theirs = arriving.recv().await.unwrap();
        let mut read = [0; 8];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"question");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (connected, accepted) =
            tokio::join!(connector.connect("127.0.0.1", listener.local_addr().unwrap().port()), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
        drop(arriving);
        let Err(error) = connector.connect(OWN_PAGE_HOST, 80).await else { panic!("nobody serves the page") };
        assert_eq!(error.to_string(), "the page is not served any more");
    }
}

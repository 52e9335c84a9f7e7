//! Targets that a test makes up: a page over HTTP that counts its visits.
//!
//! Rule: a target answers until it is dropped, whatever asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// More than any request of a scraper has.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Makes the page of a visit.
type Text = Arc<dyn Fn() -> String + Send + Sync>;

/// A running target.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    page: Arc<Mutex<String>>,
    visits: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Target {
    /// Starts one on a free port. In its page, `VISITS` stands for the number of the visit, from 1.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    pub async fn start(page: &str) -> Result<Self> {
        let page = Arc::new(Mutex::new(page.to_owned()));
        let shared = Arc::clone(&page);
        let text = move || shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self::serve(SocketAddr::from(([127, 0, 0, 1], 0)), page, Arc::new(text)).await
    }

    /// Starts one on this address, whose page is made for each visit.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub async fn start_at(address: SocketAddr, page: impl Fn() -> String + Send + Sync + 'static) -> Result<Self> {
        Self::serve(address, Arc::default(), Arc::new(page)).await
    }

    async fn serve(address: SocketAddr, page: Arc<Mutex<String>>, text: Text) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let visits = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, text, Arc::clone(&visits)));
        Ok(Self { address, page, visits, _task: task })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked.
    #[must_use]
    pub fn visits(&self) -> u64 {
        self.visits.load(Ordering::SeqCst)
    }

    /// Gives another page from now on.
    pub fn set_page(&self, page: &str) {
        page.clone_into(&mut self.page.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn accept(listener: TcpListener, page: Text, visits: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&page), Arc::clone(&visits)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, page: Text, visits: Arc<AtomicU64>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 && head.len() < MAX_HEAD_BYTES => {
                head.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            _ => return,
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        head.clear();
        let visit = visits.fetch_add(1, Ordering::SeqCst) + 1;
        let page = page().replace("VISITS", &visit.to_string());
        let length = page.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\n\r\n{page}"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

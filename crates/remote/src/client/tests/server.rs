//! A server that gives prepared answers, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Method and path.
    pub(super) line: String,
    /// The other lines of the head, in lower case but for the values.
    pub(super) headers: String,
    pub(super) body: String,
}

pub(super) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Ends with the server.
    _tasks: JoinSet<()>,
}

pub(super) fn json(body: &str) -> String {
    status(200, "application/json", body)
}

pub(super) fn status(code: u16, media_type: &str, body: &str) -> String {
    format!("HTTP/1.1 {code} X\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

impl Server {
    /// Gives the answers in their order, over any connections; an empty one closes the connection.
    pub(super) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let seen = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
                connections.spawn(async move {
                    let next = || answers.lock().unwrap().next();
                    serve(stream, &seen, next).await;
                });
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Takes connections and says nothing.
    pub(super) async fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut streams = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                streams.push(stream);
            }
        });
        Self { address, asked: Arc::default(), _tasks: tasks }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers the requests of a connection until an answer is empty.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<Asked>>,
    mut next: impl FnMut() -> Option<String>,
) {
    while let Some(asked) = request(&mut stream).await {
        seen.lock().unwrap().push(asked);
        match next() {
            Some(answer) if !answer.is_empty() => {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end + 2].to_vec()).unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        stream.read_buf(&mut body).await.ok()?;
    }
    let line = line.strip_suffix(" HTTP/1.1").unwrap().to_owned();
    Some(Asked { line, headers: headers.to_owned(), body: String::from_utf8(body).unwrap() })
}

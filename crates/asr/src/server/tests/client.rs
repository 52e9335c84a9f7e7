//! A small HTTP client that can misbehave: half requests, long silence, hang-ups.
//!
//! - [`Client`]: one connection; [`Reply`]: one answer. [`Multipart`]: the body of an upload.
//!
//! Rule: it reads exactly one answer at a time, so that a test sees what stays on the connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// One connection.
#[derive(Debug)]
pub(super) struct Client<S: AsyncRead + AsyncWrite = TcpStream>(BufStream<S>);

/// One answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Names in small letters.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Status, code and parameter of an error in the API's form.
    pub(super) fn error(&self) -> (u16, String, Option<String>) {
        let error = self.json()["error"].clone();
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.body);
        assert!(error["type"].is_string(), "{}", self.body);
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        (self.status, text("code").unwrap(), text("param"))
    }
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn over(stream: S) -> Self {
        Self(BufStream::new(stream))
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, "", &[]).await
    }

    /// `headers` are whole lines with their ends.
    pub(super) async fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        self.send(method, path, headers, body).await;
        self.read().await.unwrap()
    }

    pub(super) async fn transcribe(&mut self, form: &Multipart) -> Reply {
        self.start(form).await;
        self.read().await.unwrap()
    }

    /// Sends an upload without waiting for the answer.
    pub(super) async fn start(&mut self, form: &Multipart) {
        self.send("POST", "/v1/audio/transcriptions", CONTENT_TYPE, &form.body()).await;
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n{headers}\r\n");
        self.write(head.as_bytes()).await;
        self.write(body).await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next answer; none when the server closes before one begins.
    pub(super) async fn read(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return None,
                Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        Some(Reply { status, headers, body: String::from_utf8(body).unwrap() })
    }

    /// Whether the server closes the connection without another byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        self.read().await.is_none()
    }
}

pub(super) const CONTENT_TYPE: &str = "content-type: multipart/form-data; boundary=xyz\r\n";

/// The body of an upload.
#[derive(Clone, Debug, Default)]
pub(super) struct Multipart(Vec<u8>);

impl Multipart {
    /// A file and a model that the test server has.
    pub(super) fn of(audio: &str) -> Self {
        Self::default().file(audio.as_bytes()).field("model", "whisper-1")
    }

    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        let part = format!("--xyz\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        self.0.extend(part.as_bytes());
        self
    }

    pub(super) fn file(mut self, audio: &[u8]) -> Self {
        self.0.extend(b"--xyz\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n");
        self.0.extend(b"content-type: audio/wav\r\n\r\n");
        self.0.extend(audio);
        self.0.extend(b"\r\n");
        self
    }

    pub(super) fn body(&self) -> Vec<u8> {
        [self.0.as_slice(), b"--xyz--\r\n"].concat()
    }
}

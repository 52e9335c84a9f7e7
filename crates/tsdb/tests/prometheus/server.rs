//! A Prometheus on a port that it chose itself, ended with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A running Prometheus.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    _config: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Prometheus {
    /// Starts one over a folder of blocks and waits until it is ready.
    pub(crate) fn start(blocks: &Path, flags: &[&str]) -> Self {
        let config = tempfile::tempdir().unwrap();
        let file = config.path().join("prometheus.yml");
        std::fs::write(&file, "global: {}\n").unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", blocks.display()))
            .args(["--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // The address and the readiness are logged by two goroutines, in either order.
        let (mut address, mut ready, mut seen) = (None, false, String::new());
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("prometheus ended: {seen}")).unwrap();
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            match entry["msg"].as_str() {
                Some("Listening on") => address = entry["address"].as_str().map(str::to_owned),
                Some("Server is ready to receive web requests.") => ready = true,
                _ => {}
            }
            seen.push_str(&line);
            seen.push('\n');
            if let Some(address) = address.take_if(|_| ready) {
                break address;
            }
        };
        // The pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _config: config }
    }

    fn ask(&self, head: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // In version 1.0 an answer ends with the connection and has no chunks.
        let head = format!("{head} HTTP/1.0\r\nHost: prometheus\r\nContent-Length: {}\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let body = answer.split_off(end + 4);
        (String::from_utf8(answer).unwrap(), body)
    }

    /// Posts bytes; an empty answer is null.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Value {
        let (head, answer) = self.ask(&format!("POST {path}"), body);
        let status = head.lines().next().unwrap_or_default().to_owned();
        assert!(status.contains(" 20"), "{status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Asks the API; the parameters are encoded here.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, String)]) -> Value {
        let mut target = format!("{path}?");
        for (name, value) in parameters {
            target.push_str(&format!("{name}="));
            for byte in value.bytes() {
                target.push_str(&format!("%{byte:02X}"));
            }
            target.push('&');
        }
        let (_, answer) = self.ask(&format!("GET {target}"), b"");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"]["result"].clone()
    }
}

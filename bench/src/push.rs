//! The pods as history: remote write 1.0, in time order, over one connection.
//!
//! Bodies are snappy frames of literals only: what is measured is the receiver, not our compression.
//!
//! Rule: a request is sent when the answer to the one before it has come, and anything but 2xx ends the run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::identity;
use crate::shape::{Described, Entropy, Pod, layout};

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Where to.
    pub address: SocketAddr,
    /// How many pods, of 100 series each.
    pub pods: usize,
    /// Time of the first sample, Unix milliseconds.
    pub start_ms: i64,
    /// Between two samples of a series, milliseconds.
    pub step_ms: i64,
    /// Samples of each series.
    pub steps: usize,
    /// Samples of a series in one request.
    pub samples_per_series: usize,
    /// Series in one request, at most.
    pub series_per_request: usize,
    /// How hard the values are to store.
    pub entropy: Entropy,
}

/// What it took.
#[derive(Clone, Copy, Debug)]
pub struct Pushed {
    /// Samples that were acknowledged.
    pub samples: usize,
    /// Requests that were acknowledged.
    pub requests: usize,
    /// Time between the last byte of a request and its answer, summed.
    pub waited: Duration,
}

/// Pushes all of it.
///
/// # Errors
///
/// The receiver cannot be reached, or refuses a request.
pub fn push(history: &History) -> Result<Pushed> {
    let layout = layout();
    let mut pods: Vec<_> = (0..history.pods).map(|pod| Pod::new(pod, layout.len(), history.entropy)).collect();
    let encoded: Vec<Vec<Vec<u8>>> =
        (0..history.pods).map(|pod| layout.iter().map(|series| labels(pod, series)).collect()).collect();
    let mut connection = Connection::open(history.address)?;
    let mut pushed = Pushed { samples: 0, requests: 0, waited: Duration::ZERO };
    let mut done = 0;
    while done < history.steps {
        let steps = history.samples_per_series.clamp(1, history.steps - done);
        let from_ms = history.start_ms + i64::try_from(done)? * history.step_ms;
        let mut batch = Vec::new();
        for (pod, encoded) in pods.iter_mut().zip(&encoded) {
            let samples = samples(pod, &layout, from_ms, history.step_ms, steps)?;
            for (labels, samples) in encoded.iter().zip(samples) {
                batch.push((labels, samples));
                if batch.len() >= history.series_per_request.max(1) {
                    connection.send(&batch, steps, &mut pushed)?;
                    batch.clear();
                }
            }
        }
        if !batch.is_empty() {
            connection.send(&batch, steps, &mut pushed)?;
        }
        done += steps;
    }
    Ok(pushed)
}

/// The samples of each series of a pod, encoded.
fn samples(pod: &mut Pod, layout: &[Described], from_ms: i64, step_ms: i64, steps: usize) -> Result<Vec<Vec<u8>>> {
    let mut encoded = vec![Vec::with_capacity(steps * 20); layout.len()];
    let mut at_ms = from_ms;
    for _ in 0..steps {
        pod.step(layout);
        for (encoded, value) in encoded.iter_mut().zip(pod.values()) {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(0x10);
            varint(&mut sample, u64::try_from(at_ms).context("time before 1970")?);
            field(encoded, 0x12, &sample);
        }
        at_ms += step_ms;
    }
    Ok(encoded)
}

fn labels(pod: usize, series: &Described) -> Vec<u8> {
    let mut labels = series.labels.clone();
    labels.push(("__name__", series.name.clone()));
    labels.push(("job", "asr".to_owned()));
    labels.extend(identity(pod));
    labels.sort();
    let mut encoded = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 0x0a, name.as_bytes());
        field(&mut label, 0x12, value.as_bytes());
        field(&mut encoded, 0x0a, &label);
    }
    encoded
}

struct Connection {
    address: SocketAddr,
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let writer = TcpStream::connect(address).with_context(|| format!("cannot connect: {address}"))?;
        writer.set_nodelay(true)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { address, writer, reader })
    }

    fn send(&mut self, batch: &[(&Vec<u8>, Vec<u8>)], steps: usize, pushed: &mut Pushed) -> Result<()> {
        let mut request = Vec::new();
        for (labels, samples) in batch {
            request.push(0x0a);
            varint(&mut request, u64::try_from(labels.len() + samples.len())?);
            request.extend_from_slice(labels);
            request.extend_from_slice(samples);
        }
        let body = literals(&request);
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
             X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.writer.write_all(head.as_bytes())?;
        self.writer.write_all(&body)?;
        #[expect(clippy::disallowed_methods, reason = "a measurement takes the real time")]
        let sent = Instant::now();
        let (status, answer) = self.answer()?;
        pushed.waited += sent.elapsed();
        ensure!(status.contains(" 20"), "refused: {}: {answer}", status.trim());
        pushed.requests += 1;
        pushed.samples += batch.len() * steps;
        Ok(())
    }

    fn answer(&mut self) -> Result<(String, String)> {
        let mut status = String::new();
        ensure!(self.reader.read_line(&mut status)? > 0, "connection closed");
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            ensure!(self.reader.read_line(&mut line)? > 0, "connection closed within a head");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while let [low, ..] = value.to_le_bytes()
        && value >= 0x80
    {
        to.push(low | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

fn field(to: &mut Vec<u8>, tag: u8, content: &[u8]) {
    to.push(tag);
    varint(to, content.len() as u64);
    to.extend_from_slice(content);
}

/// Snappy's block format without compression: the length, then literals of at most 64 KiB.
fn literals(content: &[u8]) -> Vec<u8> {
    /// Tag of a literal whose length follows in two bytes.
    const LONG_LITERAL: u8 = 61 << 2;
    let mut body = Vec::with_capacity(content.len() + content.len() / 1000 + 16);
    varint(&mut body, content.len() as u64);
    for part in content.chunks(1 << 16) {
        body.push(LONG_LITERAL);
        body.extend_from_slice(&(part.len() - 1).to_le_bytes()[..2]);
        body.extend_from_slice(part);
    }
    body
}

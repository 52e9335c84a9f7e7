//! All pods behind one port: `GET /pod/NUMBER/metrics`, text format 0.0.4; each scrape moves the pod.
//!
//! A thread for each connection, because engines keep one open to each target and blocking threads cost the
//! least; pods come into being when they are first asked for.
//!
//! Rule: one page is one write; nothing is computed that a real exporter would not compute.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::shape::{Described, Entropy, Pod, layout};

/// A page needs little; a thousand threads need a thousand stacks.
const STACK_BYTES: usize = 128 * 1024;
/// Pods that exist at once; beyond it the port answers 404.
const MAX_PODS: usize = 100_000;

/// What the pages are like.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// How hard the values are to store.
    pub entropy: Entropy,
    /// Whether each line carries its time.
    pub timestamps: bool,
}

struct Shared {
    pages: Pages,
    layout: Vec<Described>,
    /// Text before the value of each line, metadata included.
    before: Vec<String>,
    pods: Mutex<HashMap<usize, Arc<Mutex<Pod>>>>,
}

/// Serves until the process ends.
///
/// # Errors
///
/// The listener cannot be used.
pub fn serve(listener: &TcpListener, pages: Pages) -> Result<()> {
    let layout = layout();
    let before = layout.iter().map(before).collect();
    let shared = Arc::new(Shared { pages, layout, before, pods: Mutex::default() });
    for stream in listener.incoming() {
        let stream = stream.context("cannot accept")?;
        let shared = Arc::clone(&shared);
        // Ends with its connection, which the engine closes; the process ends by a signal.
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || shared.answer(stream).ok())
            .context("cannot start a thread")?;
    }
    Ok(())
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut page) = (String::new(), String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let number = pod_number(&line);
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
            }
            page.clear();
            let found = number.and_then(|number| self.pod(number));
            let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
            if let Some(pod) = found {
                self.write_page(&mut pod.lock().unwrap_or_else(PoisonError::into_inner), &mut page)?;
            }
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            page.insert_str(0, &head);
            writer.write_all(page.as_bytes())?;
        }
    }

    fn pod(&self, number: usize) -> Option<Arc<Mutex<Pod>>> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.len() >= MAX_PODS && !pods.contains_key(&number) {
            return None;
        }
        let pod = pods
            .entry(number)
            .or_insert_with(|| Arc::new(Mutex::new(Pod::new(number, self.layout.len(), self.pages.entropy))));
        Some(Arc::clone(pod))
    }

    fn write_page(&self, pod: &mut Pod, page: &mut String) -> Result<()> {
        pod.step(&self.layout);
        let time = if self.pages.timestamps { Some(unix_ms()?) } else { None };
        for (before, value) in self.before.iter().zip(pod.values()) {
            page.push_str(before);
            write!(page, "{value}")?;
            if let Some(time) = time {
                write!(page, " {time}")?;
            }
            page.push('\n');
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the pages of a measurement carry the real time")]
fn unix_ms() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
}

fn pod_number(request_line: &str) -> Option<usize> {
    request_line.strip_prefix("GET /pod/")?.split('/').next()?.parse().ok()
}

fn before(series: &Described) -> String {
    let mut text = String::new();
    if let Some((family, kind)) = &series.family {
        text.push_str(&format!("# HELP {family} Of a pod that does not exist.\n# TYPE {family} {kind}\n"));
    }
    text.push_str(&series.name);
    if !series.labels.is_empty() {
        let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        text.push_str(&format!("{{{}}}", labels.join(",")));
    }
    text.push(' ');
    text
}

//! `bench-pods`: pods that do not exist, on the command line. Used by `bench/engine.py`.
//!
//! Rule: results go to standard output as JSON, everything else to standard error.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use bench::identity;
use bench::push::{History, push};
use bench::serve::{Pages, serve};
use bench::shape::Entropy;
use clap::Parser;

/// Speech recognition pods that do not exist, for measuring a Prometheus-compatible engine.
#[derive(Debug, Parser)]
enum Command {
    /// Serve a page for each pod at /pod/NUMBER/metrics; prints the address, runs until it is stopped.
    Serve {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Gauges use all 52 bits.
        #[arg(long)]
        full_entropy: bool,
        /// Each line carries its time.
        #[arg(long)]
        timestamps: bool,
    },
    /// Print the pods as a document for file discovery.
    Targets {
        /// Address of `serve`.
        #[arg(long)]
        address: SocketAddr,
        /// Number of the first pod.
        #[arg(long, default_value_t = 0)]
        first: usize,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        pods: usize,
    },
    /// Push the history of the pods by remote write 1.0; prints what it took.
    Push {
        /// Address of the receiver.
        #[arg(long)]
        address: SocketAddr,
        /// How many pods, of 100 series each.
        #[arg(long, default_value_t = 1000)]
        pods: usize,
        /// Time of the first sample, Unix milliseconds.
        #[arg(long)]
        start_ms: i64,
        /// Between two samples of a series, milliseconds.
        #[arg(long, default_value_t = 15_000)]
        step_ms: i64,
        /// Samples of each series.
        #[arg(long, default_value_t = 240)]
        steps: usize,
        /// Samples of a series in one request.
        #[arg(long, default_value_t = 4)]
        samples_per_series: usize,
        /// Series in one request.
        #[arg(long, default_value_t = 2000)]
        series_per_request: usize,
        /// Gauges use all 52 bits.
        #[arg(long)]
        full_entropy: bool,
    },
}

#[expect(clippy::print_stdout, reason = "the edge of a program of its own")]
fn main() -> Result<()> {
    let entropy = |full| if full { Entropy::Full } else { Entropy::Usual };
    match Command::parse() {
        Command::Serve { listen, full_entropy, timestamps } => {
            let listener = TcpListener::bind(listen)?;
            println!("{}", listener.local_addr()?);
            serve(&listener, Pages { entropy: entropy(full_entropy), timestamps })
        }
        Command::Targets { address, first, pods } => {
            let groups: Vec<_> = (first..first + pods).map(|pod| group(address, pod)).collect();
            println!("[{}]", groups.join(",\n"));
            Ok(())
        }
        Command::Push {
            address,
            pods,
            start_ms,
            step_ms,
            steps,
            samples_per_series,
            series_per_request,
            full_entropy,
        } => {
            let entropy = entropy(full_entropy);
            let history =
                History { address, pods, start_ms, step_ms, steps, samples_per_series, series_per_request, entropy };
            let pushed = push(&history)?;
            let waited = pushed.waited.as_secs_f64();
            println!(
                "{{\"samples\":{},\"requests\":{},\"waited_seconds\":{waited:.3}}}",
                pushed.samples, pushed.requests
            );
            Ok(())
        }
    }
}

fn group(address: SocketAddr, pod: usize) -> String {
    let labels: Vec<_> = identity(pod).iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    format!(
        "{{\"targets\":[\"{address}\"],\"labels\":{{\"__metrics_path__\":\"/pod/{pod}/metrics\",{}}}}}",
        labels.join(",")
    )
}

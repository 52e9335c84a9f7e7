//! What a person sees first: what runs, and what to type next.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// The addresses that were bound, and where the data lie.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) asr: SocketAddr,
    pub(super) web: SocketAddr,
    pub(super) model: &'a str,
    pub(super) hpa: &'a str,
    pub(super) namespace: &'a str,
    pub(super) storage: &'a Path,
}

impl Banner<'_> {
    /// The text, with the addresses as they were bound.
    pub(super) fn text(&self) -> String {
        let (asr, web) = (self.asr, self.web);
        let (model, hpa, namespace, storage) = (self.model, self.hpa, self.namespace, self.storage.display());
        let mut text = String::from("Crescendo runs on this machine: speech in, replicas out. Ctrl-C stops it.\n\n");
        let rows = [
            ("speech", format!("http://{asr}/v1/audio/transcriptions   (model {model})")),
            ("page", format!("http://{web}/")),
            ("metrics", format!("http://{asr}/metrics")),
            ("queries", format!("http://{web}/api/v1/query?query=asr_active_requests")),
            ("HPA", format!("http://{web}/api/v1/autoscaling   ({hpa})")),
            (
                "custom",
                format!(
                    "http://{web}/apis/custom.metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/*/asr_active_requests"
                ),
            ),
            ("data", storage.to_string()),
        ];
        for (name, value) in rows {
            // Writing to a `String` cannot fail.
            writeln!(text, "  {name:<8} {value}").ok();
        }
        write!(
            text,
            "\nNext, in another terminal:\n  \
             curl -F file=@crates/load/assets/sample.wav -F model=whisper-1 http://{asr}/v1/audio/transcriptions\n  \
             crescendo load --url http://{asr} --concurrency 12 --duration 40s\n"
        )
        .ok();
        text
    }
}

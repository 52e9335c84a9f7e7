//! A real control plane on this machine, for as long as a test or a person wants it.
//!
//! - [`namespace`]: the network, process and mount namespaces that it lives in; whatever ends, they end with it.
//! - [`pki`]: authorities and certificates. [`api`]: the Kubernetes API as JSON.
//! - [`control_plane`]: etcd, API server and controller manager (`e2e/controlplane`), and `kubectl`.
//! - [`node`], [`pod`]: scheduler and kubelet in one: a pod becomes real processes with an address of its own.
//!
//! ```text
//! namespaces ┌ etcd ◀─ API server 10.96.0.1:443 ◀─ controller manager (HPA, Deployment, …)
//!            │             ▲   └─ aggregator ─▶ `crescendo adapter` 10.244.1.x:6443
//!            └ node ───────┘ starts, probes, ends ─▶ `crescendo server`, workers 10.244.1.y
//! ```
//!
//! Rule: nothing leaves the namespaces, and nothing outlives them.

pub mod api;
pub mod control_plane;
pub mod namespace;
pub mod node;
pub mod pki;
pub mod pod;

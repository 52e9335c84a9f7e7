//! `web.config.file`: TLS, users and headers of a listener, as the file of Prometheus' programs says.
//!
//! - [`WebConfig`]: what the file says; [`WebConfig::load`] with everything that it names.
//! - [`Protection`]: follows the file; what connections and requests go through.
//! - `config`: the file's keys. `tls`: certificates. `users`: names and passwords.
//!
//! ```text
//! connection ─▶ the file as it is now ─▶ TLS, client certificate ─▶ request ─▶ name, password ─▶ router
//!                └ broken: the last good one, with a warning
//! ```
//!
//! Rule: at the start a broken file is an error; later the last good one stays in force. Nothing is answered
//! before the user is known, not even health.

mod config;
mod tls;
mod users;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

pub use config::{ClientAuth, TlsServerConfig, WebConfig};
use users::Users;

/// How often the files are looked at: a certificate that is renewed serves the next connections.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a file cannot protect a listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What stands in it.
    #[error(transparent)]
    Wrong(#[from] yaml::Errors),
    /// A file holds no PEM of its kind.
    #[error("no {what} in {}", path.display())]
    Pem {
        /// What was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificates and key cannot be used.
    #[error("`tls_server_config` cannot be used: {what}")]
    Tls {
        /// Which part of it.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("`tls_server_config.client_ca_file` cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// What is in force, and how the files looked when it was read.
struct InForce {
    config: Arc<WebConfig>,
    acceptor: Option<TlsAcceptor>,
    stamps: Vec<Option<(SystemTime, u64)>>,
    looked: Instant,
}

struct Shared {
    path: PathBuf,
    in_force: Mutex<InForce>,
    users: Users,
}

/// Protects a listener as a file says. A clone is the same protection.
#[derive(Clone)]
pub struct Protection(Arc<Shared>);

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protection").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Protection {
    /// Reads the file, and what it names.
    ///
    /// # Errors
    ///
    /// It is not right, or cannot be used.
    pub fn open(path: &Path) -> Result<Self, WebConfigError> {
        let (config, acceptor) = read(path)?;
        let stamps = stamps(path, &config);
        let in_force = InForce { config: Arc::new(config), acceptor, stamps, looked: Instant::now() };
        Ok(Self(Arc::new(Shared { path: path.to_owned(), in_force: Mutex::new(in_force), users: Users::default() })))
    }

    /// Whether connections speak TLS now.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.in_force().acceptor.is_some()
    }

    fn in_force(&self) -> std::sync::MutexGuard<'_, InForce> {
        self.0.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force, after a look at the files.
    fn current(&self) -> (Arc<WebConfig>, Option<TlsAcceptor>) {
        let mut in_force = self.in_force();
        if in_force.looked.elapsed() >= LOOK_INTERVAL {
            in_force.looked = Instant::now();
            let seen = stamps(&self.0.path, &in_force.config);
            if seen != in_force.stamps {
                match read(&self.0.path) {
                    Ok((config, acceptor)) => {
                        in_force.stamps = stamps(&self.0.path, &config);
                        (in_force.config, in_force.acceptor) = (Arc::new(config), acceptor);
                        tracing::info!(file = %self.0.path.display(), "web configuration is loaded");
                    }
                    Err(error) => {
                        in_force.stamps = seen;
                        let file = self.0.path.display().to_string();
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(
                            file,
                            error,
                            "web configuration is not loaded; the last good one stays in force"
                        );
                    }
                }
            }
        }
        (Arc::clone(&in_force.config), in_force.acceptor.clone())
    }

    /// What a new connection goes through, if anything.
    pub(crate) async fn acceptor(&self) -> Option<TlsAcceptor> {
        let this = self.clone();
        // Looks at files.
        tokio::task::spawn_blocking(move || this.current().1).await.ok().flatten()
    }

    /// Puts users and headers before all routes.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), check))
    }
}

async fn check(State(protection): State<Protection>, request: Request<Body>, next: Next) -> Response {
    let config = Arc::clone(&protection.in_force().config);
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_known = config.users.is_empty() || protection.0.users.knows(&config, given).await;
    let mut response = if is_known {
        next.run(request).await
    } else {
        let ask = [(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))];
        (StatusCode::UNAUTHORIZED, ask, "Unauthorized\n").into_response()
    };
    for (name, value) in &config.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

fn read(path: &Path) -> Result<(WebConfig, Option<TlsAcceptor>), WebConfigError> {
    let config = WebConfig::load(path)?;
    let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
    Ok((config, acceptor))
}

/// How the files look; symbolic links are followed, so that a switched link is a change.
fn stamps(path: &Path, config: &WebConfig) -> Vec<Option<(SystemTime, u64)>> {
    let named = config.tls.iter().flat_map(TlsServerConfig::files);
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    std::iter::once(path).chain(named).map(stamp).collect()
}

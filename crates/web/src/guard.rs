//! Refuses requests that name another host than this machine, where the listener is for this machine only.
//!
//! A page of the web can let its own name point at 127.0.0.1 and would then read whatever listens there
//! (DNS rebinding). Its requests carry its name as their host: that is how they are told.
//!
//! Rule: a listener on a loopback address answers to loopback names and to its external URL alone.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, http::Uri};

/// Which hosts may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGuard {
    /// The host of the external URL, without its port.
    external: Option<String>,
}

impl HostGuard {
    /// The guard of a listener at this address; none where others may connect, because such a listener is
    /// protected by what stands before it or by authentication.
    #[must_use]
    pub fn for_listener(address: SocketAddr, external_url: &str) -> Option<Self> {
        let external = external_url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase));
        address.ip().is_loopback().then_some(Self { external })
    }

    /// Puts the guard before all routes.
    pub fn protect(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, check))
    }

    fn allows(&self, host: &str) -> bool {
        let name = metrics_api::host_name(host);
        metrics_api::is_loopback_host(host)
            || self.external.as_deref().is_some_and(|external| name.eq_ignore_ascii_case(external))
    }
}

async fn check(State(guard): State<HostGuard>, request: Request<Body>, next: Next) -> Response {
    // HTTP/1.0 may name no host; a browser always does.
    let headers = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let foreign = headers.chain(request.uri().host()).find(|host| !guard.allows(host)).map(str::to_owned);
    let Some(foreign) = foreign else { return next.run(request).await };
    let shown: String = foreign.chars().filter(|c| !c.is_control()).take(200).collect();
    let text = format!(
        "host `{shown}` is refused: this server listens for its own machine only, and answers to localhost and \
         127.0.0.1; `--web.external-url=http://{shown}/` lets it answer to this name too\n"
    );
    (StatusCode::FORBIDDEN, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_listener_answers_to_its_own_names_and_its_external_url() {
        let at = |address: &str| HostGuard::for_listener(address.parse().unwrap(), "https://box.example:8443/prom");
        assert_eq!(at("0.0.0.0:9090"), None);
        let guard = at("127.0.0.1:9090").unwrap();
        for (host, allowed) in [
            ("localhost", true),
            ("LOCALHOST:9090", true),
            ("127.0.0.1:9090", true),
            ("127.1.2.3", true),
            ("[::1]:9090", true),
            ("[::1]", true),
            ("Box.example:1", true),
            ("box.example", true),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9090", false),
            ("box.example.evil", false),
            ("", false),
        ] {
            assert_eq!(guard.allows(host), allowed, "{host}");
        }
    }
}

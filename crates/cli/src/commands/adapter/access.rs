//! Who may ask, and which objects there are.
//!
//! Rule: nobody is let in because something is absent: each way to serve is chosen by a flag.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use adapter::{AnyOf, Authority, ClientCertificates, EveryoneKnown, FrontProxy, SeriesObjects, Watched};
use anyhow::{Context, Result, bail};
use datamodel::Clock;
use metrics_api::{
    Authenticator, Authorizer, BuiltinResources, LoopbackOnly, MetricsSource, ObjectLister, ResourceMapper,
};

use super::args::AdapterArgs;

/// What is known of clients and of objects.
pub(super) struct Access {
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) lister: Arc<dyn ObjectLister>,
    pub(super) mapper: Arc<dyn ResourceMapper>,
    /// Authorities whose files are followed.
    pub(super) watched: Vec<Watched<Authority>>,
}

impl Access {
    /// Whether clients are asked for a certificate.
    pub(super) fn asks_for_certificate(&self) -> bool {
        !self.watched.is_empty()
    }

    /// As the flags say.
    ///
    /// # Errors
    ///
    /// No way to serve is chosen, or what it needs is not there.
    pub(super) fn of(
        args: &AdapterArgs,
        address: SocketAddr,
        source: &Arc<dyn MetricsSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        if !args.without_cluster {
            bail!(
                "the Kubernetes API is not asked yet, so that it is not known who may ask and which pods there are; \
                 `--without-cluster` serves those who have a certificate (`--client-ca-file`, \
                 `--requestheader-client-ca-file`), or this machine alone, with the pods that the source scrapes"
            );
        }
        let mapper: Arc<dyn ResourceMapper> = Arc::new(BuiltinResources);
        let lister = SeriesObjects::new(Arc::clone(source), Arc::clone(&mapper), Arc::clone(clock));
        let clients = &args.clients;
        let mut watched = Vec::new();
        let mut known: Vec<Arc<dyn Authenticator>> = Vec::new();
        if let Some(file) = &clients.requestheader_client_ca_file {
            let authority = open(file, "--requestheader-client-ca-file")?;
            watched.push(authority.clone());
            let names = clients.requestheader_allowed_names.clone();
            known.push(Arc::new(FrontProxy::new(authority, names, clients.headers(), Arc::clone(clock))));
        }
        if let Some(file) = &clients.client_ca_file {
            let authority = open(file, "--client-ca-file")?;
            watched.push(authority.clone());
            known.push(Arc::new(ClientCertificates::new(authority, Arc::clone(clock))));
        }
        let (authenticator, authorizer): (Arc<dyn Authenticator>, Arc<dyn Authorizer>) = if known.is_empty() {
            let loopback = LoopbackOnly::for_listener(address).context(
                "`--without-cluster` needs `--bind-address=127.0.0.1`, or an authority of client certificates \
                 (`--client-ca-file`, `--requestheader-client-ca-file`)",
            )?;
            (Arc::new(loopback), Arc::new(loopback))
        } else {
            (Arc::new(AnyOf::new(known)), Arc::new(EveryoneKnown))
        };
        Ok(Self { authenticator, authorizer, lister: Arc::new(lister), mapper, watched })
    }
}

fn open(file: &Path, flag: &str) -> Result<Watched<Authority>> {
    let made = Watched::open(vec![file.to_owned()], |texts: &[Vec<u8>]| {
        Authority::from_pem(texts.first().map_or(&[], Vec::as_slice))
    });
    made.with_context(|| format!("`{flag}` is of no use"))
}

//! Who may ask, and which objects there are.
//!
//! - [`Access::of`]: within a cluster, or without one where the flags say so. [`certificate`]: what clients see of us.
//!
//! Rule: nobody is let in because something is absent: each way to serve is chosen by a flag, or is the cluster's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter::{
    AccessReviews, AnyOf, Authority, CertificateKeeper, ClientCertificates, ClusterResources, EveryoneKnown,
    FrontProxy, LookedUp, LookupOptions, SeriesObjects, ServingTls, TlsSettings, TokenReviews, Watched,
};
use anyhow::{Context, Result};
use datamodel::Clock;
use http_client::kubeconfig::{Cluster, own_cluster, read_cluster};
use kubernetes::client::{Client, ReflectorOptions};
use kubernetes::objects::ClusterObjects;
use metrics_api::{
    Authenticator, Authorizer, BuiltinResources, LoopbackOnly, MetricsSource, ObjectLister, ResourceMapper,
};

use super::args::SecuredApiArgs;
use crate::run_group::{RunGroup, Stage};
use crate::wiring::ended;

/// What is known of clients and of objects.
pub(super) struct Access {
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) lister: Arc<dyn ObjectLister>,
    pub(super) mapper: Arc<dyn ResourceMapper>,
    /// Whether clients are asked for a certificate.
    pub(super) asks_for_certificate: bool,
}

/// The authorities that files give.
#[derive(Default)]
struct Given {
    clients: Option<Watched<Authority>>,
    front_proxy: Option<FrontProxy>,
}

impl Access {
    /// As the flags say; what follows files and the cluster is given to the group.
    ///
    /// # Errors
    ///
    /// What a way to serve needs is not there.
    pub(super) async fn of(
        args: &SecuredApiArgs,
        address: SocketAddr,
        source: &Arc<dyn MetricsSource>,
        clock: &Arc<dyn Clock>,
        group: &mut RunGroup,
    ) -> Result<Self> {
        let given = Given::of(args, clock, group)?;
        if args.cluster.without_cluster {
            Self::without_cluster(args, given, address, source, clock)
        } else {
            Self::within_cluster(args, given, clock, group).await
        }
    }

    fn without_cluster(
        args: &SecuredApiArgs,
        given: Given,
        address: SocketAddr,
        source: &Arc<dyn MetricsSource>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let mapper: Arc<dyn ResourceMapper> = Arc::new(BuiltinResources);
        let lister = Arc::new(SeriesObjects::new(Arc::clone(source), Arc::clone(&mapper), Arc::clone(clock)));
        let mut known: Vec<Arc<dyn Authenticator>> = Vec::new();
        known.extend(given.front_proxy.map(|proxy| Arc::new(proxy) as Arc<dyn Authenticator>));
        let owners = given.clients.map(|clients| ClientCertificates::new(clients, Arc::clone(clock)));
        known.extend(owners.map(|owners| Arc::new(owners) as Arc<dyn Authenticator>));
        if known.is_empty() {
            let loopback = LoopbackOnly::for_listener(address).with_context(|| {
                let [alone, address, clients, proxies] =
                    ["without-cluster", "bind-address", "client-ca-file", "requestheader-client-ca-file"]
                        .map(|name| args.flag(name));
                format!(
                    "`{alone}` needs `{address}=127.0.0.1`, or an authority of client certificates (`{clients}`, \
                     `{proxies}`)"
                )
            })?;
            let authenticator = Arc::new(loopback);
            let authorizer = Arc::new(loopback);
            return Ok(Self { authenticator, authorizer, lister, mapper, asks_for_certificate: false });
        }
        let authenticator = Arc::new(AnyOf::new(known));
        Ok(Self { authenticator, authorizer: Arc::new(EveryoneKnown), lister, mapper, asks_for_certificate: true })
    }

    async fn within_cluster(
        args: &SecuredApiArgs,
        given: Given,
        clock: &Arc<dyn Clock>,
        group: &mut RunGroup,
    ) -> Result<Self> {
        let cluster = &args.cluster;
        let authentication = client(args, cluster.authentication_kubeconfig.as_ref(), "authentication-kubeconfig")?;
        let authorization = client(args, cluster.authorization_kubeconfig.as_ref(), "authorization-kubeconfig")?;
        let lister = client(args, cluster.lister_kubeconfig.as_ref(), "lister-kubeconfig")?;

        let options = LookupOptions { clients: given.clients, front_proxy: given.front_proxy };
        let looked_up = Arc::new(LookedUp::new(Arc::clone(&authentication), Arc::clone(clock), options)?);
        if !cluster.skip_lookup {
            match looked_up.look().await {
                Ok(_changed) => {}
                Err(error) if cluster.tolerate_lookup_failure => {
                    tracing::warn!("only given authorities and tokens are known: {error}");
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        let tolerate = args.flag("authentication-tolerate-lookup-failure");
                        format!("who may ask is not known; `{tolerate}` goes on without")
                    });
                }
            }
            let watched = Arc::clone(&looked_up);
            group.add("authorities of the cluster", Stage::Control, |token| ended(watched.watch(token)));
        }
        let times = cluster.cache_times();
        let tokens = TokenReviews::new(authentication, Arc::clone(clock), times.tokens);
        let authenticator = Arc::new(AnyOf::new(vec![looked_up, Arc::new(tokens)]));
        let authorizer = Arc::new(AccessReviews::new(authorization, Arc::clone(clock), times));

        let resources = Arc::new(ClusterResources::new(Arc::clone(&lister)));
        if let Err(error) = resources.look().await {
            tracing::warn!("only Kubernetes' own resources are known: {error}");
        }
        let (watched, interval) = (Arc::clone(&resources), cluster.discovery_interval);
        group.add("resources", Stage::Control, |token| ended(watched.watch(interval, token)));
        let mapper: Arc<dyn ResourceMapper> = resources;
        // The chance in waits only has to differ between processes.
        let seed = clock.now().unix_ms().unsigned_abs();
        let options = ReflectorOptions { seed, ..ReflectorOptions::default() };
        let (objects, watches) = ClusterObjects::new(lister, Arc::clone(&mapper), None, options);
        group.add("objects", Stage::Engine, |token| ended(watches.run(token)));
        Ok(Self { authenticator, authorizer, lister: Arc::new(objects), mapper, asks_for_certificate: true })
    }
}

impl Given {
    fn of(args: &SecuredApiArgs, clock: &Arc<dyn Clock>, group: &mut RunGroup) -> Result<Self> {
        let clients = &args.clients;
        let mut given = Self::default();
        if let Some(file) = &clients.requestheader_client_ca_file {
            let authority = open(file, &args.flag("requestheader-client-ca-file"))?;
            let watched = authority.clone();
            group.add("authority of front proxies", Stage::Control, |token| ended(watched.watch(token)));
            let names = clients.requestheader_allowed_names.clone();
            given.front_proxy = Some(FrontProxy::new(authority, names, clients.headers(), Arc::clone(clock)));
        }
        if let Some(file) = &clients.client_ca_file {
            let authority = open(file, &args.flag("client-ca-file"))?;
            let watched = authority.clone();
            group.add("authority of clients", Stage::Control, |token| ended(watched.watch(token)));
            given.clients = Some(authority);
        }
        Ok(given)
    }
}

/// What is shown to clients: from a Secret or from files, which are followed by the group.
///
/// # Errors
///
/// There is no certificate, or the API server cannot be told of it.
pub(super) async fn certificate(
    args: &SecuredApiArgs,
    settings: TlsSettings,
    clock: &Arc<dyn Clock>,
    group: &mut RunGroup,
) -> Result<ServingTls> {
    let Some(options) = args.serving.keep_options(settings.clone()) else {
        let files = args.serving.certificate().open(settings)?;
        let watched = files.clone();
        group.add("certificate", Stage::Control, |token| ended(watched.watch(token)));
        return Ok(files);
    };
    let kubeconfig = args.cluster.authentication_kubeconfig.as_ref();
    let client = client(args, kubeconfig, "authentication-kubeconfig")?;
    let keeper = CertificateKeeper::open(client, Arc::clone(clock), options).await;
    let keeper = keeper.with_context(|| format!("`{}` is of no use", args.flag("tls-secret")))?;
    let served = keeper.served();
    group.add("certificate", Stage::Control, |token| ended(keeper.watch(token)));
    Ok(served)
}

fn open(file: &Path, flag: &str) -> Result<Watched<Authority>> {
    let made = Watched::open(vec![file.to_owned()], |texts: &[Vec<u8>]| {
        Authority::from_pem(texts.first().map_or(&[], Vec::as_slice))
    });
    made.with_context(|| format!("`{flag}` is of no use"))
}

/// A cluster by a kubeconfig file, or by the pod's own account. `name` is that of the flag with the file.
fn cluster(args: &SecuredApiArgs, kubeconfig: Option<&PathBuf>, name: &str) -> Result<Cluster> {
    let flag = args.flag(name);
    match kubeconfig {
        Some(path) => read_cluster(path).with_context(|| format!("`{flag}` is of no use")),
        None => own_cluster(&|name| std::env::var(name).ok()).with_context(|| {
            let alone = args.flag("without-cluster");
            format!("the Kubernetes API cannot be asked: give `{flag}`, or serve without it by `{alone}`")
        }),
    }
}

/// A client of such a cluster.
fn client(args: &SecuredApiArgs, kubeconfig: Option<&PathBuf>, name: &str) -> Result<Arc<Client>> {
    Ok(Arc::new(Client::new(cluster(args, kubeconfig, name)?, http_client::ClientOptions::default())))
}

impl SecuredApiArgs {
    /// The cluster whose objects are listed.
    ///
    /// # Errors
    ///
    /// Nothing says where it is.
    pub(in crate::commands) fn listed_cluster(&self) -> Result<Cluster> {
        cluster(self, self.cluster.lister_kubeconfig.as_ref(), "lister-kubeconfig")
    }
}

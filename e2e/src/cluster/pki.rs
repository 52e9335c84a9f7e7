//! Authorities and certificates of a cluster that exists for an hour.
//!
//! Rule: keys lie in the cluster's folder, which only its owner may read, and go with it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate in PEM.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Whoever issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Where what it issues lies, each file with its own name before that of the owner.
    prefix: String,
    /// Its certificate in PEM.
    pub file: PathBuf,
}

impl Authority {
    /// Makes one; its files, and those of what it issues, lie in the folder.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = names(name, None);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let file = folder.join(format!("{name}.crt"));
        std::fs::write(&file, issuer.pem())?;
        Ok(Self { issuer, prefix: folder.join(name).display().to_string(), file })
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate of a client: a user, who may be in a group.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = names(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&user.replace(':', "-"), &params)
    }

    /// A certificate of a server.
    ///
    /// # Errors
    ///
    /// A name is none, or a file cannot be written.
    pub fn server(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = names(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_no_address) => SanType::DnsName((*host).try_into()?),
            });
        }
        self.issue(name, &params)
    }

    fn issue(&self, name: &str, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate: format!("{}-{name}.crt", self.prefix).into(),
            key: format!("{}-{name}.key", self.prefix).into(),
        };
        std::fs::write(&identity.certificate, certificate.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

/// The pair of keys that signs the tokens of service accounts.
///
/// # Errors
///
/// A file cannot be written.
pub fn signing_keys(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let pair = KeyPair::generate()?;
    let (private, public) = (folder.join("service-accounts.key"), folder.join("service-accounts.pub"));
    std::fs::write(&private, pair.serialize_pem())?;
    std::fs::write(&public, pair.public_key_pem())?;
    Ok((private, public))
}

fn names(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    if let Some(group) = group {
        names.push(DnType::OrganizationName, group);
    }
    names.push(DnType::CommonName, user);
    names
}

//! A certificate of our own, signed by an authority of our own, and when each is made anew.
//!
//! - [`Issued`]: what is kept of them; [`Issued::next`]: what is to be kept from now on. [`Plan`]: for whom, how long.
//!
//! ```text
//! certificate by A ─▶ everyone is told of A and B ─▶ a minute later: certificate by B
//! ```
//!
//! Rule: nothing is asked or told here, and the time is passed in; only keys are made by chance.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use datamodel::Timestamp;
use http_client::base64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

/// How much longer than a certificate an authority lives.
const AUTHORITY_LIVES: u32 = 10;
/// What is left of a life when the next one begins, as its share: a third.
const RENEWED_AT: i64 = 3;
/// How long everyone is told of an authority before it signs.
const TOLD_BEFORE_SECONDS: i64 = 60;
/// How long a certificate is valid before it is made: clocks differ.
const BACKDATED_SECONDS: i64 = 300;
const END: &str = "-----END CERTIFICATE-----\n";

/// For whom certificates are, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Names of hosts.
    pub(crate) names: Vec<String>,
    /// How long a certificate is valid; its authority is ten times as long.
    pub(crate) lifetime: Duration,
}

/// A certificate, its authority and what is known of both.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    /// Whom to trust: the authority of now first, then the one before it. PEM.
    pub(crate) authorities: String,
    authority_key: String,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) key: String,
    terms: Terms,
}

/// Ends of lives, in Unix seconds, and for whom the certificate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terms {
    authority_since: i64,
    authority_until: i64,
    /// That of the authority which signed the certificate.
    issuer_until: i64,
    certificate_until: i64,
    names: Vec<String>,
}

/// Why what is kept cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its `{key}` is {what}: it is not what is kept here; give another name, or delete it")]
pub(crate) struct Unreadable {
    key: &'static str,
    what: &'static str,
}

impl fmt::Debug for Issued {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl Issued {
    /// What is to be kept instead of this; nothing where it stays.
    ///
    /// # Errors
    ///
    /// A key cannot be made, or the kept one cannot sign.
    pub(crate) fn next(held: Option<&Self>, now: Timestamp, plan: &Plan) -> Result<Option<Self>, rcgen::Error> {
        let now = now.unix_ms().div_euclid(1000);
        let Some(held) = held else { return Self::first(now, plan).map(Some) };
        let lifetime = seconds(plan.lifetime);
        let authority_lifetime = seconds(plan.lifetime * AUTHORITY_LIVES);
        let is_due = |until: i64, lifetime: i64| until - now < lifetime / RENEWED_AT;
        let terms = &held.terms;
        if terms.authority_until <= now {
            // Nobody accepts what is over: there is nothing to wait for.
            return held.with_authority(now, plan)?.with_certificate(now, plan).map(Some);
        }
        let is_over = terms.certificate_until <= now || terms.issuer_until <= now;
        let is_changing = terms.issuer_until != terms.authority_until;
        if !is_over && !is_changing && is_due(terms.authority_until, authority_lifetime) {
            return held.with_authority(now, plan).map(Some);
        }
        let is_told = !is_changing || now - terms.authority_since >= TOLD_BEFORE_SECONDS;
        let is_wanted = is_changing || is_due(terms.certificate_until, lifetime) || terms.names != plan.names;
        if is_over || (is_wanted && is_told) { held.with_certificate(now, plan).map(Some) } else { Ok(None) }
    }

    fn first(now: i64, plan: &Plan) -> Result<Self, rcgen::Error> {
        let terms = Terms {
            authority_since: now,
            authority_until: 0,
            issuer_until: 0,
            certificate_until: 0,
            names: Vec::new(),
        };
        let nothing = Self {
            authorities: String::new(),
            authority_key: String::new(),
            certificate: String::new(),
            key: String::new(),
            terms,
        };
        nothing.with_authority(now, plan)?.with_certificate(now, plan)
    }

    /// The same with a new authority in front of the last one; the certificate stays.
    fn with_authority(&self, now: i64, plan: &Plan) -> Result<Self, rcgen::Error> {
        let until = now + seconds(plan.lifetime * AUTHORITY_LIVES);
        let mut params = authority(until);
        set_validity(&mut params, now, until);
        let key = KeyPair::generate()?;
        let authority_key = key.serialize_pem();
        let made = CertifiedIssuer::self_signed(params, key)?;
        let last = self.authorities.find(END).and_then(|at| self.authorities.get(..at + END.len()));
        let authorities = format!("{}{}", made.pem(), last.unwrap_or_default());
        let terms = Terms { authority_since: now, authority_until: until, ..self.terms.clone() };
        Ok(Self { authorities, authority_key, terms, ..self.clone() })
    }

    /// The same with a new certificate by the authority of now.
    fn with_certificate(&self, now: i64, plan: &Plan) -> Result<Self, rcgen::Error> {
        let issuer_until = self.terms.authority_until;
        let until = (now + seconds(plan.lifetime)).min(issuer_until);
        let mut params = CertificateParams::new(plan.names.clone())?;
        params.distinguished_name = named(plan.names.first().map_or("", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, until);
        let issuer = Issuer::new(authority(issuer_until), KeyPair::from_pem(&self.authority_key)?);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let terms = Terms { issuer_until, certificate_until: until, names: plan.names.clone(), ..self.terms.clone() };
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), terms, ..self.clone() })
    }

    /// As the `data` of a Secret.
    pub(crate) fn to_data(&self) -> BTreeMap<&'static str, String> {
        // Numbers and texts: they have a form in JSON.
        let terms = serde_json::to_string(&self.terms).unwrap_or_default();
        let texts = [&self.authorities, &self.authority_key, &self.certificate, &self.key, &terms];
        KEYS.into_iter().zip(texts).map(|(key, text)| (key, base64::encode(text.as_bytes()))).collect()
    }

    /// Reads the `data` of a Secret; nothing where it has none.
    ///
    /// # Errors
    ///
    /// Something else is in it.
    pub(crate) fn from_data(data: &BTreeMap<String, String>) -> Result<Option<Self>, Unreadable> {
        if data.is_empty() {
            return Ok(None);
        }
        let text = |key: &'static str| {
            let text = data.get(key).ok_or(Unreadable { key, what: "missing" })?;
            let text = base64::decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.ok_or(Unreadable { key, what: "no text" })
        };
        let [authorities, authority_key, certificate, certificate_key, terms] = KEYS;
        let terms = serde_json::from_str(&text(terms)?).ok().filter(Terms::is_sane);
        Ok(Some(Self {
            authorities: text(authorities)?,
            authority_key: text(authority_key)?,
            certificate: text(certificate)?,
            key: text(certificate_key)?,
            terms: terms.ok_or(Unreadable { key: KEYS[4], what: "of another form" })?,
        }))
    }
}

/// The keys of the Secret: authorities, key of the first of them, certificate, its key, terms.
const KEYS: [&str; 5] = ["ca.crt", "ca.key", "tls.crt", "tls.key", "terms.json"];

impl Terms {
    /// Whether the times are such that they can be computed with.
    fn is_sane(&self) -> bool {
        let all = [self.authority_since, self.authority_until, self.issuer_until, self.certificate_until];
        all.iter().all(|at| (0..i64::from(u32::MAX)).contains(at))
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// An authority, but for when it is valid. Its name tells it from the one before.
fn authority(until: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("crescendo-metrics-api-{until}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Sets when a certificate is valid.
fn set_validity(params: &mut CertificateParams, now: i64, until: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let after = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = after(now - BACKDATED_SECONDS);
    params.not_after = after(until);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

    use super::*;

    const DAY: i64 = 86_400;
    const BEGIN: i64 = 1_800_000_000;

    fn plan() -> Plan {
        Plan { names: vec!["metrics-api.default.svc".to_owned()], lifetime: Duration::from_secs(90 * 86_400) }
    }

    fn next(held: Option<&Issued>, at: i64) -> Option<Issued> {
        Issued::next(held, Timestamp::from_unix_ms(at * 1000), &plan()).unwrap()
    }

    /// Whether someone who trusts these authorities takes the certificate.
    fn is_taken(authorities: &str, issued: &Issued, at: i64) -> bool {
        let trusted: Vec<_> = CertificateDer::pem_slice_iter(authorities.as_bytes()).map(Result::unwrap).collect();
        let anchors: Vec<_> = trusted.iter().map(|der| anchor_from_trusted_cert(der).unwrap()).collect();
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let certificate = EndEntityCert::try_from(&certificate).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap()));
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        let host = ServerName::try_from("metrics-api.default.svc").unwrap();
        certificate.verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::server_auth(), None, None).is_ok()
            && certificate.verify_is_valid_for_subject_name(&host).is_ok()
    }

    #[test]
    fn certificate_is_renewed_in_its_last_third_by_the_same_authority() {
        let first = next(None, BEGIN).unwrap();
        assert!(is_taken(&first.authorities, &first, BEGIN));
        assert!(!is_taken(&first.authorities, &first, BEGIN + 90 * DAY + 1));
        assert_eq!(next(Some(&first), BEGIN + 60 * DAY), None);
        let second = next(Some(&first), BEGIN + 60 * DAY + 1).unwrap();
        assert!(second.key != first.key && second.authorities == first.authorities);
        assert!(is_taken(&first.authorities, &second, BEGIN + 150 * DAY));
        assert_eq!(next(Some(&second), BEGIN + 60 * DAY + 2), None);
    }

    #[test]
    fn authority_is_told_a_minute_before_it_signs() {
        let mut held = next(None, BEGIN).unwrap();
        let first = held.authorities.clone();
        let mut at = BEGIN;
        while held.authorities == first {
            at += DAY;
            held = next(Some(&held), at).unwrap_or(held);
            assert!(is_taken(&first, &held, at), "day {}", (at - BEGIN) / DAY);
        }
        assert!(held.authorities.ends_with(&first) && held.authorities.len() > first.len());
        assert_eq!(next(Some(&held), at + 59), None);
        let signed = next(Some(&held), at + 60).unwrap();
        assert!(is_taken(&held.authorities, &signed, at + 60) && !is_taken(&first, &signed, at + 60));
        assert_eq!(next(Some(&signed), at + 61), None);
    }

    #[test]
    fn what_is_over_is_made_anew_at_once_and_other_names_ask_for_another_certificate() {
        let first = next(None, BEGIN).unwrap();
        for at in [BEGIN + 100 * DAY, BEGIN + 2000 * DAY] {
            let made = next(Some(&first), at).unwrap();
            assert!(is_taken(&made.authorities, &made, at));
            assert_eq!(next(Some(&made), at), None);
        }
        let other = Plan { names: vec!["other.default.svc".to_owned()], ..plan() };
        let renamed = Issued::next(Some(&first), Timestamp::from_unix_ms(BEGIN * 1000), &other).unwrap().unwrap();
        assert!(renamed.certificate != first.certificate && renamed.authorities == first.authorities);
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_is() {
        let issued = next(None, BEGIN).unwrap();
        let data: BTreeMap<String, String> =
            issued.to_data().into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
        assert_eq!(Issued::from_data(&data), Ok(Some(issued.clone())));
        assert_eq!(Issued::from_data(&BTreeMap::new()), Ok(None));
        for key in KEYS {
            let mut other = data.clone();
            other.remove(key);
            assert_eq!(Issued::from_data(&other), Err(Unreadable { key, what: "missing" }));
            other.insert(key.to_owned(), "?".to_owned());
            assert_eq!(Issued::from_data(&other), Err(Unreadable { key, what: "no text" }));
        }
        assert!(!format!("{issued:?}").contains("PRIVATE"), "{issued:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn whoever_is_told_of_authorities_a_minute_late_takes_every_certificate(
            steps in proptest::collection::vec(1..40 * DAY, 1..60),
        ) {
            let mut held = next(None, BEGIN).unwrap();
            let (mut at, mut told) = (BEGIN, held.authorities.clone());
            for step in steps {
                at += step;
                let made = next(Some(&held), at).unwrap_or_else(|| held.clone());
                prop_assert!(is_taken(&told, &made, at), "{} s after the begin", at - BEGIN);
                told.clone_from(&made.authorities);
                held = made;
            }
        }
    }
}

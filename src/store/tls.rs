//! `rediss://`.

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::builder::bad_url;
use crate::error::ConfigError;

#[derive(Clone, Default)]
pub(super) struct Tls {
    pub(super) roots: Option<Vec<u8>>,
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(super) fn client(&self, info: ConnectionInfo) -> Result<Client, ConfigError> {
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return match self {
                Self {
                    roots: None,
                    client: None,
                } => Client::open(info).map_err(|error| bad_url().caused_by(error)),
                _ => Err(ConfigError::new(
                    "url",
                    "certificates are set but the address is not rediss://",
                )),
            };
        }
        if let Some(pem) = &self.roots {
            check_roots(pem)?;
        }
        choose_provider();
        let certificates = TlsCertificates {
            client_tls: self
                .client
                .clone()
                .map(|(client_cert, client_key)| ClientTlsConfig {
                    client_cert,
                    client_key,
                }),
            root_cert: self.roots.clone(),
        };
        Client::build_with_tls(info, certificates).map_err(|error| {
            ConfigError::new("tls", "the certificates cannot be used").caused_by(error)
        })
    }
}

/// The driver takes a text without certificates for authorities that sign nothing: no server would be trusted.
fn check_roots(pem: &[u8]) -> Result<(), ConfigError> {
    let mut found = CertificateDer::pem_slice_iter(pem).peekable();
    if found.peek().is_some() && found.all(|certificate| certificate.is_ok()) {
        return Ok(());
    }
    Err(ConfigError::new(
        "tls_root_certificates",
        "is no PEM text of certificates",
    ))
}

/// The driver asks rustls for the process-wide provider and panics when the build holds two and nobody has chosen. An
/// application that has chosen is left alone.
fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

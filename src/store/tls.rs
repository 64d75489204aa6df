//! `rediss://`.

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};

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

/// The driver asks rustls for the process-wide provider and panics when the build holds two and nobody has chosen. An
/// application that has chosen is left alone.
fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

//! How a store is made.

use std::{fmt, sync::Mutex, time::Duration};

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::{
    Backend, Memory, Namespace, Shared, Store, StoreError, StoreErrorKind, external::External,
    link::Link,
};
use crate::{clock::Clock, error::ConfigError};

const DEADLINE: Duration = Duration::from_millis(250);
const LONGEST_CREDENTIAL: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
const MEMORY_LIMIT: usize = 256 * 1024 * 1024;
/// Unacknowledged bytes for this long mean that the link is dead: a cut cable is known after a second.
const LINK_DEAD_AFTER: Duration = Duration::from_secs(1);

/// Settings of a [`Store`]; made by [`Store::builder`], ended by one of the methods that make the store.
#[derive(Clone)]
#[must_use]
pub struct StoreBuilder {
    prefix: String,
    blacklist_prefix: String,
    deadline: Duration,
    longest_credential: Duration,
    access_token_life: Duration,
    memory_limit: usize,
    clock: Clock,
    #[cfg(feature = "tls")]
    tls: super::tls::Tls,
}

impl StoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            prefix: Namespace::PREFIX.to_owned(),
            blacklist_prefix: Namespace::BLACKLIST.to_owned(),
            deadline: DEADLINE,
            longest_credential: LONGEST_CREDENTIAL,
            access_token_life: ACCESS_TOKEN_LIFE,
            memory_limit: MEMORY_LIMIT,
            clock: Clock::system(),
            #[cfg(feature = "tls")]
            tls: super::tls::Tls::default(),
        }
    }

    /// What all keys begin with. Default `portcullis:`; may be empty. Services that share sessions share it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What the keys of revoked tokens begin with, apart from [`prefix`](Self::prefix) so that other systems can write
    /// them as well. Default `jwt:blacklist:`; must not be empty, and no key that begins with it may be one of the crate's own:
    /// what follows is the id of a token, which whoever makes tokens chooses.
    pub fn blacklist_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.blacklist_prefix = prefix.into();
        self
    }

    /// The longest a call may take, connecting and queueing included. Default 250 ms; from 1 ms to 60 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The longest life of anything that a cutoff must be able to end: sessions, access tokens, refresh families.
    /// Default 90 days. Layers that are given a longer life refuse to be built; cutoffs are kept this long.
    pub fn longest_credential(mut self, life: Duration) -> Self {
        self.longest_credential = life;
        self
    }

    /// The longest life of access tokens that name a login (`sid`). Default 1 hour. A logout denies the login's tokens for
    /// this long and two minutes, and [`BlacklistLayer`](crate::blacklist::BlacklistLayer) refuses the first issuer's tokens that
    /// live longer; zero, for services without such tokens, saves the key that this costs.
    pub fn access_token_life(mut self, life: Duration) -> Self {
        self.access_token_life = life;
        self
    }

    /// How many bytes the in-memory store may hold, roughly. Default 256 MiB. Past it writes fail with
    /// [`StoreErrorKind::Full`]; nothing is evicted, because what would go might be a revocation.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Another clock than the system's, for tests. The in-memory store takes all its time from it; with Redis the
    /// server's own time goes on counting.
    #[cfg(any(test, feature = "test-util"))]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Trusts the certificate authorities in this PEM text instead of the public ones, for `rediss://`.
    #[cfg(feature = "tls")]
    pub fn tls_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots = Some(pem.into());
        self
    }

    /// Presents this certificate chain and key (PEM) to the server, for `rediss://` with client certificates.
    #[cfg(feature = "tls")]
    pub fn tls_client_certificate(
        mut self,
        chain: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.client = Some((chain.into(), key.into()));
        self
    }

    /// Connects and waits for the answer; see [`Store::connect`].
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Config`] for a setting or an address that cannot be used, otherwise what kept the server from
    /// answering.
    pub async fn connect(self, url: &str) -> Result<Store, StoreError> {
        let store = self.connect_lazy(url)?;
        if let Backend::Link(link) = &store.0.backend {
            // Twice the deadline: name resolution and the first handshake take longer than a call.
            let patience = store.0.deadline * 2;
            tokio::time::timeout(patience, link.connect())
                .await
                .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Timeout)))
                .map_err(|error| error.during("connect"))?;
        }
        Ok(store)
    }

    /// Connects at the first call; see [`Store::connect_lazy`].
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Config`] for a setting or an address that cannot be used.
    pub fn connect_lazy(self, url: &str) -> Result<Store, StoreError> {
        let info = connection_info(url).map_err(config)?;
        // Two attempts fit into a second, whatever the deadline.
        let attempt = self.deadline.max(DEADLINE).min(Duration::from_secs(5));
        let (resp3, resp2) = self.clients(info, url).map_err(config)?;
        self.finish(Backend::Link(Link::new(resp3, resp2, attempt)))
            .map_err(config)
    }

    /// The in-process store.
    ///
    /// # Panics
    ///
    /// If a setting cannot be used; [`try_memory`](Self::try_memory) reports it instead.
    #[must_use]
    pub fn memory(self) -> Store {
        self.try_memory()
            .expect("the settings of the in-memory store can be used")
    }

    /// The in-process store, from settings that are not known at compile time.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Config`] for a setting that cannot be used.
    pub fn try_memory(self) -> Result<Store, StoreError> {
        let memory = Memory::new(self.memory_limit);
        self.finish(Backend::Memory(Mutex::new(memory)))
            .map_err(config)
    }

    /// A store over a connection that the application made with the `redis` crate and keeps up itself.
    ///
    /// Any cloneable connection will do: `MultiplexedConnection`, `ConnectionManager`. The store puts its deadline and a
    /// circuit breaker in front of it; reconnecting is up to the connection. This is the one signature that names a type
    /// of the `redis` crate (1.x).
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Config`] for a setting that cannot be used.
    pub fn from_redis<C>(self, connection: C) -> Result<Store, StoreError>
    where
        C: redis::aio::ConnectionLike + Clone + Send + Sync + 'static,
    {
        self.finish(Backend::External(External::new(connection)))
            .map_err(config)
    }

    fn finish(self, backend: Backend) -> Result<Store, ConfigError> {
        if self.deadline < Duration::from_millis(1) || self.deadline > Duration::from_secs(60) {
            return Err(ConfigError::new(
                "deadline",
                "must be between 1 ms and 60 s",
            ));
        }
        if self.longest_credential < Duration::from_secs(60)
            || self.longest_credential > Duration::from_secs(400 * 86_400)
        {
            return Err(ConfigError::new(
                "longest_credential",
                "must be between 1 minute and 400 days",
            ));
        }
        if self.access_token_life > self.longest_credential {
            return Err(ConfigError::new(
                "access_token_life",
                "must be at most longest_credential",
            ));
        }
        Ok(Store(std::sync::Arc::new(Shared {
            backend,
            namespace: Namespace::new(&self.prefix, &self.blacklist_prefix)?,
            deadline: self.deadline,
            longest_credential: self.longest_credential,
            access_token_life: self.access_token_life,
            #[cfg(not(any(test, feature = "test-util")))]
            clock: self.clock,
            companion: std::sync::OnceLock::new(),
            find_rider: std::sync::OnceLock::new(),
            #[cfg(any(test, feature = "test-util"))]
            clock: self.clock.skippable(),
            #[cfg(any(test, feature = "test-util"))]
            pause: Mutex::new(None),
        })))
    }

    /// One client that asks for RESP3 and one that does not, or only the one the address names.
    fn clients(
        &self,
        info: ConnectionInfo,
        url: &str,
    ) -> Result<(Option<redis::Client>, redis::Client), ConfigError> {
        let chosen = url.contains("protocol=");
        let resp3 = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let first = (!chosen || info.redis_settings().protocol() == ProtocolVersion::RESP3)
            .then(|| self.client(info.clone().set_redis_settings(resp3)))
            .transpose()?;
        Ok((first, self.client(info)?))
    }

    #[cfg(feature = "tls")]
    fn client(&self, info: ConnectionInfo) -> Result<redis::Client, ConfigError> {
        self.tls.client(info)
    }

    #[cfg(not(feature = "tls"))]
    fn client(&self, info: ConnectionInfo) -> Result<redis::Client, ConfigError> {
        redis::Client::open(info).map_err(|error| bad_url().caused_by(error))
    }
}

fn connection_info(url: &str) -> Result<ConnectionInfo, ConfigError> {
    // Without TLS the driver does not know the scheme at all.
    #[cfg(not(feature = "tls"))]
    if ["rediss:", "valkeys:"]
        .iter()
        .any(|tls| url.starts_with(tls))
    {
        return Err(ConfigError::new(
            "url",
            "rediss:// needs the feature `tls` of this crate",
        ));
    }
    // The driver's own message may repeat the address, and with it a password: it is not kept.
    let info = url.into_connection_info().map_err(|_| bad_url())?;
    let tcp = redis::io::tcp::TcpSettings::default()
        // Without it a second command waits for the acknowledgement of the first: up to 40 ms.
        .set_nodelay(true)
        .set_keepalive(
            socket2::TcpKeepalive::new()
                .with_time(LINK_DEAD_AFTER)
                .with_interval(LINK_DEAD_AFTER)
                .with_retries(2),
        );
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(LINK_DEAD_AFTER);
    Ok(info.set_tcp_settings(tcp))
}

pub(super) fn bad_url() -> ConfigError {
    ConfigError::new(
        "url",
        "is no address of a Redis server: expected redis://[user:password@]host[:port][/db], rediss://… or redis+unix:///path",
    )
}

fn config(error: ConfigError) -> StoreError {
    StoreError::new(StoreErrorKind::Config).caused_by(error)
}

impl fmt::Debug for StoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder")
            .field("prefix", &self.prefix)
            .field("blacklist_prefix", &self.blacklist_prefix)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_tls_names_the_missing_feature() {
        let error = connection_info("rediss://user:hunter2@host").unwrap_err();
        assert!(error.to_string().contains("feature `tls`"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

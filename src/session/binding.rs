//! Sessions that are bound to the browser and the network of their login.
//!
//! It is a second look at who uses a cookie, not a proof: whoever can steal a cookie can often copy a `User-Agent`, and sits
//! perhaps in the same network. In return it asks people to sign in again who did nothing wrong. So it is off by default.
//!
//! What is kept is a keyed hash, in a field of the session that applications cannot name. It is set at login; a session of
//! before binding was switched on, or of other settings, stays unbound until then.

use std::net::IpAddr;

use http::{header::USER_AGENT, request};

use super::{config::Config, layer::SessionLayerBuilder, record::Record};
use crate::{
    error::ConfigError,
    keyring::MacKeys,
    peer::ClientIp,
    refuse::{Rejection, RejectionKind},
    secret::{decode_exact, encode},
    trace::{event_error, event_warn},
};

/// Names that begin so are not the application's.
pub(super) const RESERVED: &str = "portcullis.";
pub(super) const FIELD: &str = "portcullis.bound";

/// What happens to a request whose browser or network is not the one that its session is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnMismatch {
    /// It has no session: the user is a visitor like any other, and whatever they do leaves the session alone. The default.
    #[default]
    Refuse,
    /// It has no session either, but can learn why ([`Ended::Moved`](super::Ended::Moved), code `login_again`), and a login of
    /// the same user goes on with the session and what is in it.
    RequireLogin,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Binding {
    user_agent: bool,
    /// The lengths of the prefixes that must stay the same, for IPv4 and IPv6.
    ip: Option<(u8, u8)>,
    pub(super) on_mismatch: OnMismatch,
}

/// What a request looks like, as far as sessions are bound to it.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    /// Which settings this is by: hashes of others cannot be compared.
    by: String,
    user_agent: Vec<u8>,
    network: Vec<u8>,
}

impl Binding {
    pub(super) fn is_on(&self) -> bool {
        self.user_agent || self.ip.is_some()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.ip {
            Some((v4, v6)) if !(1..=32).contains(&v4) || !(1..=128).contains(&v6) => {
                Err(ConfigError::new(
                    "bind_ip",
                    "a prefix has 1 to 32 bits for IPv4 and 1 to 128 for IPv6",
                ))
            }
            _ => Ok(()),
        }
    }

    /// What the request looks like, or that nobody found out where it comes from.
    pub(super) fn look(&self, head: &request::Parts) -> Result<Looks, Rejection> {
        let mut looks = Looks {
            by: String::new(),
            user_agent: Vec::new(),
            network: Vec::new(),
        };
        if self.user_agent {
            looks.by.push('u');
            let value = head.headers.get(USER_AGENT);
            looks.user_agent = value
                .map(|value| unversioned(value.as_bytes()))
                .unwrap_or_default();
        }
        if let Some((v4, v6)) = self.ip {
            let client = head.extensions.get::<ClientIp>().ok_or_else(missing)?;
            looks.by.push_str(&format!("i{v4}.{v6}"));
            looks.network = network(client.addr(), v4, v6);
        }
        Ok(looks)
    }
}

fn missing() -> Rejection {
    event_error!(
        event = "session.client_ip_missing",
        "sessions are bound to addresses, and nobody found out the client's: put StripHeadersLayer around SessionLayer"
    );
    Rejection::new(RejectionKind::Internal)
        .code("client_ip_missing")
        .caused_by("put StripHeadersLayer around SessionLayer, with the address of the connection")
}

/// Without digits and what joins them: browsers update themselves, and their users stay who they are.
fn unversioned(user_agent: &[u8]) -> Vec<u8> {
    let joins = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
    user_agent
        .iter()
        .copied()
        .filter(|byte| !joins(byte))
        .collect()
}

fn network(addr: IpAddr, v4: u8, v6: u8) -> Vec<u8> {
    let masked = |bytes: &[u8], bits: u8| {
        let bits = usize::from(bits);
        let kept = |at: usize| match bits.saturating_sub(at * 8) {
            0 => 0,
            left @ 1..8 => 0xff << (8 - left),
            _ => 0xff_u8,
        };
        let bytes = bytes.iter().enumerate();
        bytes.map(|(at, byte)| byte & kept(at)).collect()
    };
    match addr {
        IpAddr::V4(addr) => masked(&addr.octets(), v4),
        IpAddr::V6(addr) => masked(&addr.octets(), v6),
    }
}

impl Looks {
    fn parts(&self) -> [&[u8]; 4] {
        [
            b"bound session",
            self.by.as_bytes(),
            &self.user_agent,
            &self.network,
        ]
    }

    /// The field of a session that is bound to this, as JSON.
    pub(super) fn field(&self, keys: &MacKeys) -> String {
        let tag = encode(keys.sign(&self.parts()));
        format!(r#""{}:{tag}""#, self.by)
    }

    /// Whether a session may be used by a request that looks like this.
    fn fits(&self, record: &Record, keys: &MacKeys) -> bool {
        let field = record.field(FIELD).unwrap_or_default();
        let text = field
            .strip_prefix(b"\"")
            .and_then(|text| text.strip_suffix(b"\""));
        let Some(text) = text.and_then(|text| std::str::from_utf8(text).ok()) else {
            return true;
        };
        let Some((by, tag)) = text.split_once(':') else {
            return true;
        };
        by != self.by
            || decode_exact::<32>(tag.as_bytes())
                .is_some_and(|tag| keys.verify(&self.parts(), &tag))
    }
}

/// Whether the session that was found may not be used by this request.
pub(super) fn is_foreign(config: &Config, looks: Option<&Looks>, record: Option<&Record>) -> bool {
    let (Some(looks), Some(record)) = (looks, record) else {
        return false;
    };
    let foreign = !record.header.is_anonymous() && !looks.fits(record, &config.keys);
    if foreign {
        event_warn!(
            event = "session.moved",
            "a session was presented from another browser or network than that of its login"
        );
    }
    foreign
}

impl SessionLayerBuilder {
    /// Binds logins to the `User-Agent` that they were made with, version numbers aside. Default no.
    pub fn bind_user_agent(mut self) -> Self {
        self.binding.user_agent = true;
        self
    }

    /// Binds logins to the network that they were made from: the first `v4` bits of an IPv4 address, or `v6` of an IPv6
    /// address; `(24, 48)` tolerates most changes within one provider. People on the move change networks. Default no.
    ///
    /// The address is the [`ClientIp`] that a [`StripHeadersLayer`](crate::peer::StripHeadersLayer) around this layer found
    /// out, never a header's word. Without one, every request is refused with an internal error.
    pub fn bind_ip(mut self, v4: u8, v6: u8) -> Self {
        self.binding.ip = Some((v4, v6));
        self
    }

    /// What happens where browser or network is another one. Default [`OnMismatch::Refuse`].
    pub fn on_mismatch(mut self, what: OnMismatch) -> Self {
        self.binding.on_mismatch = what;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fails if: a prefix is cut at whole bytes, or an address of the other kind is taken for the same network.
    #[test]
    fn networks_are_cut_at_bits() {
        let of = |addr: &str| network(addr.parse().expect("an address"), 20, 44);
        assert_eq!(of("10.1.31.255"), of("10.1.16.0"));
        assert_ne!(of("10.1.32.0"), of("10.1.16.0"));
        assert_eq!(of("2001:db8:f::1"), of("2001:db8:0:ffff::"));
        assert_ne!(of("2001:db8:10::"), of("2001:db8::"));
        assert_eq!(network([1, 2, 3, 4].into(), 32, 128), [1, 2, 3, 4]);
    }

    // Fails if: an update of the browser signs its user out.
    #[test]
    fn versions_do_not_count() {
        let of = |text: &str| unversioned(text.as_bytes());
        assert_eq!(
            of("Mozilla/5.0 (Mac OS X 10_15_7) Firefox/128.0"),
            of("Mozilla/5.0 (Mac OS X 11) Firefox/129.0.1")
        );
        assert_ne!(of("Firefox/128.0"), of("Chrome/128.0"));
    }
}

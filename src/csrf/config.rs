//! What the gates and handles of one layer share.

use std::borrow::Cow;

use http::HeaderName;

use super::{token::Tokens, verdict::Policy};
use crate::cookie::CookieConfig;

pub(super) struct Config {
    pub(super) policy: Policy,
    pub(super) tokens: Tokens,
    /// Of the pre-session.
    pub(super) cookie: CookieConfig,
    pub(super) header: HeaderName,
    pub(super) field: Cow<'static, str>,
    pub(super) exempt: Box<[String]>,
    pub(super) form_limit: usize,
    pub(super) stored: bool,
    pub(super) report_only: bool,
    pub(super) same_origin_resources: bool,
}

impl Config {
    /// The path as the inner service gets it, byte by byte: another spelling of it is another path.
    pub(super) fn is_exempt(&self, path: &str) -> bool {
        self.exempt.iter().any(|exempt| exempt == path)
    }
}

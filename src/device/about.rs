//! What is known about a device: texts that come from clients, for its user to read.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// Longer texts are cut.
const LONGEST_TEXT: usize = 256;

/// The texts, and their form in the index: JSON without those that nobody gave.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ua: Option<String>,
}

impl About {
    pub(crate) fn set_name(&mut self, name: impl Into<String>) {
        self.name = Some(cut(name.into()));
    }

    pub(crate) fn set_ip(&mut self, ip: impl Display) {
        self.ip = Some(cut(ip.to_string()));
    }

    pub(crate) fn set_user_agent(&mut self, user_agent: impl Into<String>) {
        self.ua = Some(cut(user_agent.into()));
    }

    pub(crate) fn to_json(&self) -> String {
        // Texts can always be written.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// Cut to 256 bytes at the border of a character.
fn cut(mut text: String) -> String {
    let end = (0..=LONGEST_TEXT.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

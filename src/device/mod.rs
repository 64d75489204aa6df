//! Devices: what a user has alive, one entry per signed-in device, known by its `sid`.
//!
//! A device is a session, a refresh family, or both; the `sid` of its access tokens names it.
//!
//! 1. The index is a sorted set of sids by expiry and a hash with what is known about each. Both carry the user's hash
//!    tag, and every script that starts, touches, moves or ends something of a device writes them in the same step.
//! 2. It heals itself: whatever has expired is dropped whenever the index is written, and both keys expire with the
//!    last member. Nothing depends on keyspace events.
//! 3. It is bounded: at most 1000 devices per user unless set otherwise
//!    ([`SessionLayerBuilder::max_devices`](crate::session::SessionLayerBuilder::max_devices),
//!    [`RotationBuilder::max_devices`](crate::refresh::RotationBuilder::max_devices)); on one more, whoever signed in first
//!    is signed out.
//! 4. Ending a device ends its access tokens, its refresh family and its session, in one step, before the call returns.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::StoreError> {
//! use portcullis::{Store, device::Devices};
//!
//! let devices = Devices::new(&Store::memory());
//! assert!(devices.list("", "alice", None).await?.is_empty());
//! devices.revoke_all("", "alice").await?;
//! # Ok(()) }
//! ```

mod about;
mod handle;
mod index;
mod twin;

pub(crate) use about::About;
pub use handle::{Device, Devices};
pub(crate) use index::{Index, Names, Room, keys};

/// The shared beginning of scripts that write the index.
pub(crate) const LUA: &str = include_str!("index.lua");

/// The length of the storage hash in front of what is known about a device.
pub(crate) const HASH_CHARS: usize = 43;

/// What begins with this byte under a session's key is no record but the mark of one that was ended, and why.
pub(crate) const ENDED: u8 = b'!';

/// How many devices a user may have where nothing else is said: whoever signed in first goes. More than anybody has, and so few
/// that every script that looks at each of them is short: a server runs one script at a time. Listing or ending 5000
/// took it 41 to 88 ms.
pub(crate) const MOST_DEVICES: u32 = 1_000;

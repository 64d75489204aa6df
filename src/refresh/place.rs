//! Where families begin: in the store, or in a database.

#[cfg(feature = "registry")]
use super::registered;
use super::{
    error::RefreshError,
    ops::{self, Issued, NewFamily},
    rotation::{Inner, Rotation},
    token::Token,
};
use crate::cutoff::AuthStart;

impl Rotation {
    /// The moment at which an authentication begins, in one trip: for
    /// [`RefreshLogin::not_before`](super::RefreshLogin::not_before). Over a registry it is
    /// [`ActiveSessions::auth_start`](crate::registry::ActiveSessions::auth_start), and works while the store is away.
    ///
    /// # Errors
    ///
    /// When the store cannot say, or over a registry the database.
    pub async fn auth_start(&self) -> Result<AuthStart, RefreshError> {
        #[cfg(feature = "registry")]
        if let Some(active) = &self.0.registry {
            return active.auth_start().await.map_err(registered::failed);
        }
        Ok(AuthStart::ask(&self.0.store).await?)
    }
}

impl Inner {
    pub(super) async fn start(
        &self,
        token: &Token,
        key_id: [u8; 4],
        new: &NewFamily<'_>,
    ) -> Result<Issued, RefreshError> {
        #[cfg(feature = "registry")]
        if let Some(active) = &self.registry {
            return registered::issue(active, token, key_id, new).await;
        }
        let call = ops::issue(&self.store, token, key_id, new);
        Ok(ops::issued(self.store.run_twice(call).await?)?)
    }
}

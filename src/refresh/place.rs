//! Where families begin: in the store, or in a database.

#[cfg(feature = "registry")]
use super::registered;
use super::{
    error::RefreshError,
    ops::{self, Issued, NewFamily},
    rotation::Inner,
    token::Token,
};

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

//! Whose each webhook secret is: two tenants that had one could each sign for the other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::secrets_of;
use crate::secret::Secret;

/// The SHA-256 of a secret.
type Hash = [u8; 32];

/// The owners of all secrets, by the names of tenants. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SecretOwners(Arc<Mutex<HashMap<Hash, String>>>);

impl SecretOwners {
    /// The owners of what these tenants have now. What two of them have is the first one's.
    pub fn of<'a>(tenants: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let owners = SecretOwners::default();
        for (tenant, secrets) in tenants {
            // Settings in which two have the same are refused before.
            let _ = owners.claim(tenant, &secrets.now().text);
        }
        owners
    }

    /// Makes these secrets, one a line, those of this tenant, in place of all that it had.
    ///
    /// # Errors
    /// If one of them is another tenant's. Then nothing changes.
    pub fn claim(&self, tenant: &str, secrets: &SecretString) -> Result<(), &'static str> {
        let claimed = secrets_of(secrets).into_iter();
        let claimed: Vec<Hash> = claimed
            .map(|secret| Sha256::digest(secret.expose_secret()).into())
            .collect();
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_anothers = |hash| owners.get(hash).is_some_and(|owner| owner != tenant);
        if claimed.iter().any(is_anothers) {
            return Err("shares a secret with another tenant's");
        }
        owners.retain(|_, owner| owner != tenant);
        owners.extend(claimed.into_iter().map(|hash| (hash, tenant.to_owned())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_tenants_until_that_one_gives_it_up() {
        let [a, b] = ["a1\na2\n", "b1"].map(Secret::from);
        let owners = SecretOwners::of([("a", &a), ("b", &b)]);
        let claim = |tenant: &str, secrets: &str| owners.clone().claim(tenant, &secrets.into());
        for anothers in ["a1", "b2\n a2 \n"] {
            assert!(claim("b", anothers).is_err(), "{anothers}");
        }
        // What was refused has changed nothing.
        assert!(claim("c", "b2").is_ok());
        assert!(claim("c", "b1").is_err());
        assert!(claim("a", "a2\na2").is_ok());
        assert!(claim("b", "b1\na1").is_ok());
        assert!(claim("a", "a1").is_err());
        assert!(!format!("{owners:?}").contains("a1"));
    }
}

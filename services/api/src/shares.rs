//! Places that tenants share, of which no tenant can have all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use darkroom_jobs::TenantId;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Tenants that are remembered before those without a place are forgotten.
const REMEMBERED: usize = 1_024;

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    all: Arc<Semaphore>,
    /// How many of them one tenant may have.
    each: usize,
    /// A place that is taken keeps what it was taken of.
    of_tenants: Arc<Mutex<HashMap<TenantId, Weak<Semaphore>>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
}

impl Shares {
    /// `all` places, of which one tenant has at most `each`.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, of_tenants: Arc::default() }
    }

    /// Waits for a place: first for one of the tenant's own.
    pub(crate) async fn place(&self, tenant: TenantId) -> Result<Place, AcquireError> {
        let of_tenant = self.of(tenant).acquire_owned().await?;
        let of_all = self.all.clone().acquire_owned().await?;
        Ok(Place { _of_all: of_all, _of_tenant: of_tenant })
    }

    /// A place, if there is one.
    pub(crate) fn free_place(&self, tenant: TenantId) -> Option<Place> {
        let of_tenant = self.of(tenant).try_acquire_owned().ok()?;
        let of_all = self.all.clone().try_acquire_owned().ok()?;
        Some(Place { _of_all: of_all, _of_tenant: of_tenant })
    }

    fn of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return own;
        }
        if tenants.len() >= REMEMBERED {
            tenants.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(self.each));
        tenants.insert(tenant, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_tenant_has_its_share_and_leaves_the_rest() {
        let shares = Shares::new(3, 2);
        let (one, other) = (TenantId::from_uuid(Uuid::from_u128(1)), TenantId::from_uuid(Uuid::from_u128(2)));
        let first = shares.place(one).await.unwrap();
        let second = shares.free_place(one).unwrap();
        assert!(shares.free_place(one).is_none() && shares.place(one).now_or_never().is_none());
        let third = shares.free_place(other).unwrap();
        assert!(shares.free_place(other).is_none(), "there are no more than three");
        drop(first);
        assert!(shares.free_place(other).is_some());
        let again = shares.place(one).now_or_never().unwrap().unwrap();
        drop((second, third, again));
    }

    #[tokio::test]
    async fn tenants_without_a_place_are_forgotten() {
        let shares = Shares::new(10, 1);
        let kept = shares.free_place(TenantId::from_uuid(Uuid::from_u128(0))).unwrap();
        for tenant in 1..=2 * REMEMBERED as u128 {
            drop(shares.free_place(TenantId::from_uuid(Uuid::from_u128(tenant))).unwrap());
        }
        assert!(shares.of_tenants.lock().unwrap().len() <= REMEMBERED);
        assert!(shares.free_place(TenantId::from_uuid(Uuid::from_u128(0))).is_none());
        drop(kept);
    }
}

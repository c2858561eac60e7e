//! The gate that every call of the API passes: who calls, for which tenant, and whether it may.
//!
//! It is passed before anything else is done for a call. Whoever is refused as unknown learns nothing but that.

use std::{collections::HashMap, sync::Arc};

use http::{Extensions, HeaderMap, HeaderValue, header::AUTHORIZATION};

use super::{Tenant, rpc::Rpc};
use crate::{
    access::{ANONYMOUS, Caller, Callers, Changes, Claimant, Credential, Right},
    error::{CallError, Hint, Reason, Violation},
    listener::PeerNames,
};

/// The metadata that names a tenant, by a caller that may act for several.
const TENANT: &str = "x-kora-tenant";

/// What a caller lacks that may not act for a tenant, beside the names of rights.
const TENANT_RIGHT: &str = "tenant";

/// Lets callers in.
#[derive(Clone)]
pub(super) struct Gate {
    callers: Callers,
    tenants: Arc<HashMap<String, Arc<Tenant>>>,
}

/// Who makes a call, as far as that is known: for the log.
#[derive(Clone, Default)]
pub(super) struct Who {
    caller: Option<Arc<Caller>>,
    tenant: Option<Arc<Tenant>>,
}

/// A call that was let in.
#[derive(Clone)]
pub(super) struct Pass {
    pub(super) caller: Arc<Caller>,
    pub(super) tenant: Arc<Tenant>,
    credential: Arc<Credential>,
    callers: Callers,
    /// How many tenants there are.
    tenants: usize,
}

/// The pass of a stream, which is good only as long as its caller may do what it does.
pub(super) struct StreamPass {
    pass: Pass,
    rights: Vec<Right>,
    changes: Changes,
}

impl Gate {
    pub(super) fn new(callers: Callers, tenants: Vec<Tenant>) -> Self {
        let tenants = tenants.into_iter();
        Gate {
            callers,
            tenants: Arc::new(
                tenants
                    .map(|tenant| (tenant.name.to_string(), Arc::new(tenant)))
                    .collect(),
            ),
        }
    }

    /// Who calls, and for which tenant; and whether it is let in.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`; `PERMISSION_MISSING` for a tenant that is not the caller's, whether there is one or not;
    /// `INVALID_REQUEST` if the caller has to name one.
    pub(super) fn enter(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> (Who, Result<Pass, CallError>) {
        let authorization = headers.get_all(AUTHORIZATION).iter();
        let names = extensions.get().cloned().unwrap_or_default();
        let PeerNames(names) = names;
        let credential = Credential::new(authorization.map(HeaderValue::as_bytes), names);
        let Some(caller) = self.callers.identify(&credential) else {
            return (Who::default(), Err(Reason::Unauthenticated.into()));
        };
        let tenant = self.tenant(&caller, headers);
        let who = Who {
            caller: Some(Arc::clone(&caller)),
            tenant: tenant.as_ref().ok().map(Arc::clone),
        };
        let pass = tenant.map(|tenant| Pass {
            tenant,
            caller,
            credential: Arc::new(credential),
            callers: self.callers.clone(),
            tenants: self.tenants.len(),
        });
        (who, pass)
    }

    fn tenant(&self, caller: &Caller, headers: &HeaderMap) -> Result<Arc<Tenant>, CallError> {
        let name = tenant_of(caller, headers)?
            .ok_or_else(|| unnamed("is required: the caller may act for several tenants"))?;
        let tenant = self.tenants.get(name).map(Arc::clone);
        tenant.ok_or_else(|| missing(TENANT_RIGHT))
    }
}

impl Who {
    /// The caller's name in the configuration; empty if it has none.
    pub(super) fn caller(&self) -> &str {
        let name = self.caller.as_ref().map(|caller| &*caller.name);
        name.filter(|name| *name != ANONYMOUS).unwrap_or_default()
    }

    /// The tenant's name; empty if it is not known.
    pub(super) fn tenant(&self) -> &str {
        self.tenant.as_ref().map_or("", |tenant| &tenant.name)
    }
}

impl Pass {
    /// Who makes the call.
    pub(super) fn who(&self) -> Who {
        Who {
            caller: Some(Arc::clone(&self.caller)),
            tenant: Some(Arc::clone(&self.tenant)),
        }
    }

    /// Checks that the caller may call this method at all.
    ///
    /// # Errors
    /// `PERMISSION_MISSING`.
    pub(super) fn check_rpc(&self, rpc: Rpc) -> Result<(), CallError> {
        rpc.right().map_or(Ok(()), |right| self.check(right))
    }

    /// Checks that the caller may have Kora's own body, if it is asked for.
    ///
    /// # Errors
    /// `PERMISSION_MISSING`.
    pub(super) fn check_raw_json(&self, is_asked_for: bool) -> Result<(), CallError> {
        match is_asked_for {
            true => self.check(Right::RawJson),
            false => Ok(()),
        }
    }

    /// Checks that the caller has this right.
    ///
    /// # Errors
    /// `PERMISSION_MISSING`.
    pub(super) fn check(&self, right: Right) -> Result<(), CallError> {
        match self.caller.rights.include(right) {
            true => Ok(()),
            false => Err(missing(right.name())),
        }
    }

    /// Who takes permits for the call, and with whom they are shared.
    pub(super) fn claimant(&self) -> Claimant {
        let tenant = &self.tenant.name;
        Claimant {
            caller: Arc::clone(&self.caller.name),
            tenant: Arc::clone(tenant),
            callers: self.callers.count(),
            tenants: self.tenants,
            callers_of_tenant: self.callers.count_of_tenant(tenant),
            tenants_of_caller: self.caller.tenants.len(),
        }
    }

    /// The same pass with what the caller may do now: the callers can have been replaced since it was let in.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`; `PERMISSION_MISSING` for the tenant.
    pub(super) fn renewed(&self) -> Result<Pass, CallError> {
        let now = self.callers.identify(&self.credential);
        let now = now.filter(|now| now.name == self.caller.name);
        let caller = now.ok_or(Reason::Unauthenticated)?;
        match caller.tenants.contains(&*self.tenant.name) {
            true => Ok(Pass {
                caller,
                ..self.clone()
            }),
            false => Err(missing(TENANT_RIGHT)),
        }
    }

    /// The pass of a stream of events, with Kora's own bodies or without.
    ///
    /// # Errors
    /// Those of [`StreamPass::check`].
    pub(super) fn of_stream(self, has_raw_json: bool) -> Result<StreamPass, CallError> {
        let rights = [Right::Watch].into_iter();
        let pass = StreamPass {
            changes: self.callers.changes(),
            rights: rights
                .chain(has_raw_json.then_some(Right::RawJson))
                .collect(),
            pass: self,
        };
        // The callers can have been replaced since this one was let in.
        pass.check_again()?;
        Ok(pass)
    }
}

impl StreamPass {
    /// Checks that what the caller showed when it came would still do.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `PERMISSION_MISSING`.
    pub(super) fn check(&mut self) -> Result<(), CallError> {
        match self.changes.have_happened() {
            true => self.check_again(),
            false => Ok(()),
        }
    }

    fn check_again(&self) -> Result<(), CallError> {
        let now = self.pass.renewed()?;
        self.rights.iter().try_for_each(|right| now.check(*right))
    }
}

/// The tenant that a call is for; `None` if it has to be named.
fn tenant_of<'a>(caller: &'a Caller, headers: &HeaderMap) -> Result<Option<&'a str>, CallError> {
    let mut named = headers.get_all(TENANT).iter();
    match (named.next(), named.next()) {
        (None, _) => Ok(caller.only_tenant()),
        (Some(name), None) => {
            let name = name.to_str().ok();
            let tenant = name.and_then(|name| caller.tenants.get(name));
            tenant
                .map(|name| Some(name.as_str()))
                .ok_or_else(|| missing(TENANT_RIGHT))
        }
        (Some(_), Some(_)) => Err(unnamed("is there more than once")),
    }
}

fn missing(right: &'static str) -> CallError {
    CallError {
        hint: Some(Hint::MissingRight(right)),
        ..CallError::new(Reason::PermissionMissing)
    }
}

fn unnamed(description: &'static str) -> CallError {
    let violation = Violation {
        field: TENANT.to_owned(),
        description: description.into(),
    };
    CallError {
        violations: vec![violation],
        ..CallError::new(Reason::InvalidRequest)
    }
}

//! How many one caller and one tenant can have, and who waits.

use futures_util::FutureExt;
use tokio::time::{Duration, advance};

use super::*;

/// One of three callers of a gateway with one tenant.
fn caller(name: &str) -> Claimant {
    Claimant {
        caller: name.into(),
        callers: 3,
        callers_of_tenant: 3,
        ..Claimant::only()
    }
}

/// Callers that each act for both of two tenants.
fn both(caller: &str, tenant: &str) -> Claimant {
    Claimant {
        caller: caller.into(),
        tenant: tenant.into(),
        callers: 2,
        tenants: 2,
        callers_of_tenant: 2,
        tenants_of_caller: 2,
    }
}

/// Everybody's calls for one of three tenants, where nobody is asked who it is.
fn tenant(name: &str) -> Claimant {
    Claimant {
        tenant: name.into(),
        tenants: 3,
        tenants_of_caller: 3,
        ..Claimant::only()
    }
}

/// As many as it can have at the moment.
fn take_all(shares: &Shares, claimant: &Claimant) -> (Vec<Share>, Full) {
    let mut taken = Vec::new();
    loop {
        match shares.take(claimant, 1) {
            Ok(share) => taken.push(share),
            Err(full) => return (taken, full),
        }
    }
}

fn take(shares: &Shares, claimant: &Claimant, count: usize) -> Vec<Share> {
    let (taken, _) = take_all(shares, claimant);
    assert_eq!(taken.len(), count);
    taken
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn one_caller_takes_half_unless_it_is_the_only_one() {
    let shares = Shares::new(4);
    let (first, full) = take_all(&shares, &caller("a"));
    assert_eq!((first.len(), full), (2, Full::Caller));
    let (rest, full) = take_all(&shares, &caller("b"));
    assert_eq!((rest.len(), full), (2, Full::Caller));
    drop((first, rest));
    let (all, full) = take_all(&shares, &Claimant::only());
    assert_eq!((all.len(), full), (4, Full::All));
    let at_once = shares.take_by(&Claimant::only(), soon()).now_or_never();
    assert_eq!(at_once.unwrap().unwrap_err(), Full::All);
    drop(all);
    let taken = shares.taken();
    assert!(taken.by_caller.is_empty() && taken.by_tenant.is_empty() && taken.by_both.is_empty());
}

#[test]
fn one_tenant_takes_half_of_the_same_callers_permits() {
    let shares = Shares::new(8);
    let (hung, full) = take_all(&shares, &tenant("hung"));
    assert_eq!((hung.len(), full), (4, Full::Tenant));
    let (others, full) = take_all(&shares, &tenant("other"));
    assert_eq!((others.len(), full), (4, Full::Tenant));
    let full = shares.take(&tenant("third"), 1).unwrap_err();
    assert_eq!(full, Full::All);
    assert!(shares.take(&tenant("hung"), 1).is_err());
    drop(hung);
    assert_eq!(take(&shares, &tenant("third"), 4).len(), 4);
}

#[test]
fn a_caller_of_a_hung_tenant_keeps_half_of_its_own_for_its_other_tenants() {
    let shares = Shares::new(16);
    let (hung, full) = take_all(&shares, &both("a", "hung"));
    assert_eq!((hung.len(), full), (4, Full::CallerOfTenant));
    let (others, full) = take_all(&shares, &both("a", "well"));
    assert_eq!((others.len(), full), (4, Full::Caller));
    let (rest, full) = take_all(&shares, &both("b", "hung"));
    assert_eq!((rest.len(), full), (4, Full::Tenant));
}

#[test]
fn callers_of_one_tenant_each_have_no_need_of_the_half_of_a_half() {
    let one = |caller: &str, tenant: &str| Claimant {
        callers_of_tenant: 1,
        tenants_of_caller: 1,
        ..both(caller, tenant)
    };
    let shares = Shares::new(16);
    let _full = (
        take(&shares, &one("a", "x"), 8),
        take(&shares, &one("b", "y"), 8),
    );
}

#[test]
fn what_is_larger_than_a_quarter_still_finds_room() {
    let shares = Shares::with_min_quota(100, 60);
    let large = shares.take(&both("a", "x"), 60).unwrap();
    assert_eq!(shares.take(&both("a", "x"), 1).unwrap_err(), Full::Caller);
    assert_eq!(shares.take(&both("b", "y"), 41).unwrap_err(), Full::All);
    drop(large);
    let mut grown = shares.take(&both("b", "y"), 41).unwrap();
    grown.merge(shares.take(&both("b", "y"), 19).unwrap());
    assert_eq!(grown.count(), 60);
    drop(grown);
    assert_eq!(shares.0.free.available_permits(), 100);
    assert!(shares.taken().by_caller.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_has_less_than_its_share_gets_the_next_permit_and_the_others_are_refused() {
    let shares = Shares::new(4);
    let (mut a, _b) = (
        take(&shares, &caller("a"), 2),
        take(&shares, &caller("b"), 2),
    );
    let c = caller("c");
    let mut waiting = Box::pin(shares.take_by(&c, soon()));
    assert!(waiting.as_mut().now_or_never().is_none());
    a.pop();
    let a = caller("a");
    let refused = shares.take_by(&a, soon());
    assert_eq!(refused.now_or_never().unwrap().unwrap_err(), Full::All);
    assert!(waiting.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_tenant_that_has_less_than_its_share_waits() {
    let shares = Shares::new(6);
    let of = |caller: &str, name: &str| Claimant {
        caller: caller.into(),
        callers: 3,
        tenants_of_caller: 1,
        ..tenant(name)
    };
    let mut greedy = take(&shares, &of("a", "greedy"), 3);
    let _more = take(&shares, &of("b", "more"), 3);
    let (third, again) = (of("c", "third"), of("c", "greedy"));
    let refused = shares.take_by(&again, soon()).now_or_never();
    assert_eq!(refused.unwrap().unwrap_err(), Full::Tenant);
    let mut waiting = Box::pin(shares.take_by(&third, soon()));
    assert!(waiting.as_mut().now_or_never().is_none());
    greedy.pop();
    assert!(waiting.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_it_said() {
    let shares = Shares::new(2);
    let _full = (
        take(&shares, &caller("a"), 1),
        take(&shares, &caller("b"), 1),
    );
    let c = caller("c");
    let mut waiting = Box::pin(shares.take_by(&c, soon()));
    assert!(waiting.as_mut().now_or_never().is_none());
    advance(Duration::from_secs(2)).await;
    assert_eq!(waiting.await.unwrap_err(), Full::All);
    let waiters = shares.taken().by_caller.len();
    assert_eq!(waiters, 2, "who has given up has nothing");
}

#[tokio::test]
async fn a_permit_that_everybody_wants_is_still_one() {
    let shares = Shares::new(1);
    let one = take(&shares, &caller("a"), 1);
    assert!(shares.take(&caller("b"), 1).is_err());
    drop(one);
    assert!(shares.take(&caller("b"), 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_third_tenant_waits_for_a_permit_where_nobody_is_asked_who_it_is() {
    let shares = Shares::new(4);
    let (mut first, _second) = (
        take(&shares, &tenant("first"), 2),
        take(&shares, &tenant("second"), 2),
    );
    let third = tenant("third");
    let mut waiting = Box::pin(shares.take_by(&third, soon()));
    assert!(waiting.as_mut().now_or_never().is_none());
    first.pop();
    assert!(waiting.now_or_never().unwrap().is_ok());
}

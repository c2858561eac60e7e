//! Which of a port's connections is evicted when another one needs its slot.
//!
//! A connection whose client has not proven itself yet is a candidate for eviction. One from the network that has the
//! most candidates goes first, the oldest of them: a stranger with many connections evicts its own. Clients that have
//! proven themselves are evicted last, the one that has been idle for the longest time first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use tokio::sync::Notify;

/// The part of an IPv6 address that names a network; its holder can use every address in it.
const IPV6_PREFIX: u128 = !0 << 64;

/// Where a connection comes from: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(IpAddr);

/// The connections that may be evicted. Every operation takes logarithmic time.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    last: u64,
    unproven: HashMap<Network, BTreeMap<u64, Arc<Notify>>>,
    /// The networks of `unproven` by their number of candidates, then by the age of their oldest one.
    by_count: BTreeSet<(usize, Reverse<u64>, Network)>,
    /// In the order in which they became idle.
    proven: BTreeMap<u64, Arc<Notify>>,
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        Network(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_PREFIX).into(),
            ipv4 => ipv4,
        })
    }
}

impl Candidates {
    /// A number for a connection that opens, or for a proven one that becomes idle: higher than all before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds a connection whose client has not proven itself. `number` tells its age, `evict` is notified when it is its turn.
    pub(super) fn add_unproven(&mut self, network: Network, number: u64, evict: Arc<Notify>) {
        self.change(network, |candidates| candidates.insert(number, evict));
    }

    /// Adds an idle connection of a client that has proven itself.
    pub(super) fn add_proven(&mut self, number: u64, evict: Arc<Notify>) {
        self.proven.insert(number, evict);
    }

    /// Removes a connection, if it is here.
    pub(super) fn remove(&mut self, network: Network, number: u64) {
        if self.proven.remove(&number).is_none() {
            self.change(network, |candidates| candidates.remove(&number));
        }
    }

    /// Removes the connection that is to be evicted next, and notifies it.
    pub(super) fn evict_next(&mut self) {
        let largest = self.by_count.last().map(|(_, _, network)| *network);
        let next = match largest {
            Some(network) => self.change(network, BTreeMap::pop_first),
            None => self.proven.pop_first(),
        };
        if let Some((_, evict)) = next {
            evict.notify_one();
        }
    }

    /// Changes the candidates of a network, and where it stands among the others.
    fn change<T>(
        &mut self,
        network: Network,
        change: impl FnOnce(&mut BTreeMap<u64, Arc<Notify>>) -> T,
    ) -> T {
        let candidates = self.unproven.entry(network).or_default();
        if let Some(rank) = rank(network, candidates) {
            self.by_count.remove(&rank);
        }
        let changed = change(candidates);
        match rank(network, candidates) {
            Some(rank) => {
                self.by_count.insert(rank);
            }
            None => {
                self.unproven.remove(&network);
            }
        }
        changed
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.unproven.is_empty() && self.by_count.is_empty() && self.proven.is_empty()
    }
}

/// Where a network stands; nowhere without candidates.
fn rank(
    network: Network,
    candidates: &BTreeMap<u64, Arc<Notify>>,
) -> Option<(usize, Reverse<u64>, Network)> {
    let (oldest, _) = candidates.first_key_value()?;
    Some((candidates.len(), Reverse(*oldest), network))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    /// Adds unproven candidates from these addresses, and returns what each of them is notified by.
    fn add(candidates: &mut Candidates, addresses: &[&str]) -> Vec<Arc<Notify>> {
        let add = |address: &&str| {
            let (number, evict) = (candidates.next_number(), Arc::new(Notify::new()));
            candidates.add_unproven(network(address), number, Arc::clone(&evict));
            evict
        };
        addresses.iter().map(add).collect()
    }

    fn next(candidates: &mut Candidates, all: &[Arc<Notify>]) -> Option<usize> {
        candidates.evict_next();
        all.iter()
            .position(|evict| evict.notified().now_or_never().is_some())
    }

    #[test]
    fn the_oldest_one_of_the_network_with_the_most_is_next_and_of_equals_the_oldest_of_all() {
        let mut candidates = Candidates::default();
        let addresses = [
            "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.3", "10.0.0.2", "10.0.0.3",
        ];
        let all = add(&mut candidates, &addresses);
        let order: Vec<_> = (0..7).map(|_| next(&mut candidates, &all)).collect();
        assert_eq!(
            order,
            [2, 1, 0, 3, 4, 5]
                .map(Some)
                .into_iter()
                .chain([None])
                .collect::<Vec<_>>()
        );
        assert!(candidates.is_empty());
    }

    #[test]
    fn the_proven_are_last_in_the_order_in_which_they_became_idle() {
        let mut candidates = Candidates::default();
        let proven = [(); 2].map(|()| Arc::new(Notify::new()));
        for evict in &proven {
            let number = candidates.next_number();
            candidates.add_proven(number, Arc::clone(evict));
        }
        let mut all = proven.to_vec();
        all.extend(add(&mut candidates, &["10.0.0.1"]));
        let order = [(); 3].map(|()| next(&mut candidates, &all));
        assert_eq!(order, [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn what_was_removed_is_not_evicted() {
        let mut candidates = Candidates::default();
        let all = add(&mut candidates, &["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
        candidates.remove(network("10.0.0.1"), 1);
        candidates.remove(network("10.0.0.1"), 1);
        assert_eq!(next(&mut candidates, &all), Some(1));
        candidates.remove(network("10.0.0.2"), 3);
        assert_eq!(next(&mut candidates, &all), None);
        assert!(candidates.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_and_a_mapped_ipv4_address_is_that_address() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("::ffff:10.0.0.1"), network("10.0.0.2"));
    }
}

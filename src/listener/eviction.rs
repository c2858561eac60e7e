//! Which of those that share something scarce is evicted when another one needs it: a port's slots for connections, or the
//! memory for bodies that are still coming in.
//!
//! Whoever has not proven itself yet is a candidate for eviction. One from the network that has the most candidates goes
//! first, the oldest of them: a stranger with many connections evicts its own. Those that have proven themselves are
//! evicted last, the one that has been idle for the longest time first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
};

/// The part of an IPv6 address that names a network; its holder can use every address in it.
const IPV6_PREFIX: u128 = !0 << 64;

/// Where a connection comes from: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

/// Those that may be evicted. Every operation takes logarithmic time.
#[derive(Debug)]
pub struct Candidates<T> {
    last: u64,
    unproven: HashMap<Network, BTreeMap<u64, T>>,
    /// The networks of `unproven` by their number of candidates, then by the age of their oldest one.
    by_count: BTreeSet<(usize, Reverse<u64>, Network)>,
    /// In the order in which they became idle.
    proven: BTreeMap<u64, T>,
}

impl<T> Default for Candidates<T> {
    fn default() -> Self {
        Candidates {
            last: 0,
            unproven: HashMap::new(),
            by_count: BTreeSet::new(),
            proven: BTreeMap::new(),
        }
    }
}

impl Network {
    /// The network of an address. A mapped IPv4 address is that address.
    pub fn of(address: IpAddr) -> Self {
        Network(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_PREFIX).into(),
            ipv4 => ipv4,
        })
    }
}

impl<T> Candidates<T> {
    /// A number for one that arrives, or for a proven one that becomes idle: higher than all before.
    pub fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds one that has not proven itself. `number` tells its age.
    pub fn add_unproven(&mut self, network: Network, number: u64, candidate: T) {
        self.change(network, |candidates| candidates.insert(number, candidate));
    }

    /// Adds one that has proven itself and is idle.
    pub(super) fn add_proven(&mut self, number: u64, candidate: T) {
        self.proven.insert(number, candidate);
    }

    /// Whether this is an idle one that has proven itself.
    pub(super) fn is_proven(&self, number: u64) -> bool {
        self.proven.contains_key(&number)
    }

    /// Removes one, if it is here.
    pub fn remove(&mut self, network: Network, number: u64) {
        if self.proven.remove(&number).is_none() {
            self.change(network, |candidates| candidates.remove(&number));
        }
    }

    /// Removes the one that is to be evicted next.
    pub fn pop_next(&mut self) -> Option<T> {
        let largest = self.by_count.last().map(|(_, _, network)| *network);
        let next = match largest {
            Some(network) => self.change(network, BTreeMap::pop_first),
            None => self.proven.pop_first(),
        };
        next.map(|(_, candidate)| candidate)
    }

    /// Changes the candidates of a network, and where it stands among the others.
    fn change<U>(
        &mut self,
        network: Network,
        change: impl FnOnce(&mut BTreeMap<u64, T>) -> U,
    ) -> U {
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
fn rank<T>(
    network: Network,
    candidates: &BTreeMap<u64, T>,
) -> Option<(usize, Reverse<u64>, Network)> {
    let (oldest, _) = candidates.first_key_value()?;
    Some((candidates.len(), Reverse(*oldest), network))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    /// Adds an unproven candidate from each of these addresses: 0, 1, …
    fn add(candidates: &mut Candidates<usize>, addresses: &[&str]) {
        for (index, address) in addresses.iter().enumerate() {
            let number = candidates.next_number();
            candidates.add_unproven(network(address), number, index);
        }
    }

    fn order(mut candidates: Candidates<usize>) -> Vec<usize> {
        let order = std::iter::from_fn(|| candidates.pop_next()).collect();
        assert!(candidates.is_empty());
        order
    }

    #[test]
    fn the_oldest_one_of_the_network_with_the_most_is_next_and_of_equals_the_oldest_of_all() {
        let mut candidates = Candidates::default();
        let addresses = [
            "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.3", "10.0.0.2", "10.0.0.3",
        ];
        add(&mut candidates, &addresses);
        assert_eq!(order(candidates), [2, 1, 3, 0, 4, 5]);
    }

    #[test]
    fn the_proven_are_last_in_the_order_in_which_they_became_idle() {
        let mut candidates = Candidates::default();
        for index in [10, 11] {
            let number = candidates.next_number();
            candidates.add_proven(number, index);
        }
        add(&mut candidates, &["10.0.0.1"]);
        assert_eq!(order(candidates), [0, 10, 11]);
    }

    #[test]
    fn what_was_removed_is_not_evicted() {
        let mut candidates = Candidates::default();
        add(&mut candidates, &["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
        candidates.remove(network("10.0.0.1"), 1);
        candidates.remove(network("10.0.0.1"), 1);
        assert_eq!(candidates.pop_next(), Some(1));
        candidates.remove(network("10.0.0.2"), 3);
        assert!(order(candidates).is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_and_a_mapped_ipv4_address_is_that_address() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("::ffff:10.0.0.1"), network("10.0.0.2"));
    }
}

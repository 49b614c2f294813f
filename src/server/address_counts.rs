//! How many clients are connected from each address, for the limit `connections_per_address`.
//!
//! An IPv6 customer usually has a whole /64, so all addresses of one count as one. An IPv4 address counts as itself,
//! however it is written.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// The numbers of connected clients by address; it has no entry without a client.
#[derive(Debug, Default)]
pub(super) struct AddressCounts(BTreeMap<IpAddr, usize>);

impl AddressCounts {
    /// Counts a client from `ip`. Returns false, and does not count it, if `most` clients are connected from there.
    pub(super) fn enter(&mut self, ip: IpAddr, most: usize) -> bool {
        let count = self.0.entry(shared(ip)).or_default();
        let enters = *count < most;
        *count += usize::from(enters);
        enters
    }

    /// A client from `ip` that was counted has left.
    pub(super) fn leave(&mut self, ip: IpAddr) {
        let ip = shared(ip);
        let Some(count) = self.0.get_mut(&ip) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&ip);
        }
    }
}

/// The address that stands for all that are counted together with `ip`.
fn shared(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_addresses_of_a_network_of_ipv6_count_as_one_and_each_of_ipv4_for_itself() {
        let mut counts = AddressCounts::default();
        assert!(counts.enter(ip("2001:db8:0:1::a"), 2) && counts.enter(ip("2001:db8:0:1:f::b"), 2));
        assert!(!counts.enter(ip("2001:db8:0:1::c"), 2));
        assert!(counts.enter(ip("2001:db8:0:2::a"), 2));
        assert!(counts.enter(ip("192.0.2.1"), 1) && counts.enter(ip("192.0.2.2"), 1));
        assert!(!counts.enter(ip("::ffff:192.0.2.1"), 1));
    }

    #[test]
    fn who_leaves_makes_room_and_leaves_nothing_behind() {
        let mut counts = AddressCounts::default();
        for _ in 0..3 {
            assert!(counts.enter(ip("192.0.2.1"), 1) && !counts.enter(ip("192.0.2.1"), 1));
            counts.leave(ip("::ffff:192.0.2.1"));
        }
        assert!(counts.0.is_empty());
        counts.leave(ip("192.0.2.1"));
    }
}

//! DNS queries and replies on the wire: RFC 1035, section 4, for addresses only.
//!
//! In: a name, a family and 16 random bits; later the received bytes. Out: the bytes of a query, and the meaning of
//! the reply.
//!
//! ```text
//!   ┌ id, flags, counts ┬ question ──────────┬ records ──────────────────────────┐
//!   │ 12 bytes          │ maps.example, A    │ maps.example ─CNAME─▶ m1.example  │
//!   │                   │                    │ m1.example ─A─▶ 192.0.2.1, TTL 60 │
//!   └ the id is ours ───┴ byte by byte ours ─┴ A, AAAA and CNAME; all else is skipped ┘
//! ```
//!
//! A message that does not match our id and our question is not a reply to us and is ignored: the real reply may
//! still come. A message that matches but cannot be parsed counts as a reply from a server that has failed.
//!
//! A server repeats the whole question, so it is compared as bytes, ignoring case: neither the length of a label
//! nor a type has the value of a letter.
//!
//! Only the answer section is read, and in it only the requested type and the CNAMEs that lead to it, as glibc
//! does. So a signature, a record of an unknown type, or garbage after the answers does not spoil a good reply.
//! Header bits that are not named here do not spoil it either.
//!
//! EDNS is not used, because addresses usually fit in 512 bytes. If they do not, the reply is truncated, and the
//! question is asked again over TCP. Twisted: names/dns.py; names/client.py, filterAnswers.

use super::action::Via;
use super::cache::TTL_MAX;
use super::name::HostName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Maximum number of addresses of one family that are kept; no caller tries more.
pub const ADDRESSES_MAX: usize = 16;

/// Maximum number of CNAMEs that are followed from one name. Real chains have two or three, long ones a dozen.
pub const CNAMES_MAX: usize = 32;

/// Maximum number of pointers that are followed within one name: a name has at most this many labels, each of which may
/// follow a pointer.
const POINTERS_MAX: usize = 127;

/// Maximum number of labels and pointers that are read in total for one reply: 64 for each of the 4,095 records with an
/// IPv4 address that fit in the 64 KiB of a TCP reply.
const STEPS_MAX: usize = 64 * 4_096;

/// The number of bytes before the question.
const HEADER_BYTES: usize = 12;

/// Bits of the third byte and the fourth. RFC 1035, section 4.1.1.
const RESPONSE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
const RECURSION_AVAILABLE: u8 = 0x80;
const RCODE: u8 = 0x0f;

/// Values of [`RCODE`].
const NO_ERROR: u8 = 0;
const NAME_ERROR: u8 = 3;

/// Types of records, and the only class used. RFC 1035, section 3.2; RFC 3596, section 2.1.
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const IN: u16 = 1;

/// Longest name in bytes, without the root's byte. RFC 1035, section 2.3.4.
const NAME_BYTES_MAX: usize = 254;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv6, by AAAA records.
    V6,
    /// IPv4, by A records.
    V4,
}

impl Family {
    fn record_type(self) -> u16 {
        match self {
            Family::V6 => AAAA,
            Family::V4 => A,
        }
    }

    /// The address in the data of a record of this family.
    fn address(self, data: &[u8]) -> Option<IpAddr> {
        match self {
            Family::V6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            Family::V4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        }
    }
}

/// The meaning of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsReply {
    /// The name has these addresses.
    Addresses(AddressSet),
    /// The name exists, but has no address of this family. RFC 2308: NODATA.
    NoAddresses,
    /// The name does not exist: NXDOMAIN.
    NoSuchName,
    /// The reply does not fit in a datagram: ask again over TCP.
    Truncated,
    /// The server failed or refused, has no records and does not recurse, or sent a reply that cannot be parsed.
    Failed,
}

/// Addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// 1 to [`ADDRESSES_MAX`], in the order of the answer.
    pub list: Vec<IpAddr>,
    /// The lifetime: the smallest TTL among the address records and the CNAMEs that led to them.
    pub ttl: Duration,
}

/// One question with its id, which the reply must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    family: Family,
    bytes: Vec<u8>,
}

impl Question {
    /// A question for the addresses of `name`. `id` must be random, and used for this query alone.
    pub fn new(name: &HostName, family: Family, id: u16) -> Question {
        let mut bytes = id.to_be_bytes().to_vec();
        // Flags: recursion desired. One question.
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.as_str().split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend([family.record_type(), IN].map(u16::to_be_bytes).as_flattened());
        Question { family, bytes }
    }

    /// The query, as it is sent in a datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The meaning of `answer`, received over `via`; `None` if it is not a reply to this question.
    pub fn read(&self, answer: &[u8], via: Via) -> Option<DnsReply> {
        let header = answer.first_chunk::<HEADER_BYTES>()?;
        let rcode = header[3] & RCODE;
        if !self.is_repeated_in(header, rcode, answer) {
            return None;
        }
        let is_cut = header[2] & TRUNCATED != 0;
        // As glibc's res_send.c: the server is not responsible for the name, and does not recurse.
        let is_lame = header[2] & AUTHORITATIVE | header[3] & RECURSION_AVAILABLE == 0
            && [6, 10].iter().all(|&count| number(header, count) == Some(0));
        Some(match rcode {
            NO_ERROR if is_cut && via == Via::Udp => DnsReply::Truncated,
            NO_ERROR if is_lame => DnsReply::Failed,
            NO_ERROR => match self.addresses_in(answer) {
                // A TCP reply that is cut cannot be requested over another transport.
                None | Some(DnsReply::NoAddresses) if is_cut => DnsReply::Failed,
                reply => reply.unwrap_or(DnsReply::Failed),
            },
            NAME_ERROR => DnsReply::NoSuchName,
            _ => DnsReply::Failed,
        })
    }

    /// Whether `answer` is a reply, and to this question.
    fn is_repeated_in(&self, header: &[u8; HEADER_BYTES], rcode: u8, answer: &[u8]) -> bool {
        let is_ours = header[..2] == self.bytes[..2] && header[2] & RESPONSE != 0;
        let is_repeated = match number(header, 4) {
            // A server that could not parse the question cannot repeat it, so its reply can only be an
            // error.
            Some(0) => !matches!(rcode, NO_ERROR | NAME_ERROR),
            Some(1) => answer
                .get(HEADER_BYTES..self.bytes.len())
                .is_some_and(|question| question.eq_ignore_ascii_case(&self.bytes[HEADER_BYTES..])),
            _ => false,
        };
        is_ours && is_repeated
    }

    /// Follows the CNAMEs to addresses. `None` if the reply cannot be parsed, or the CNAMEs form a loop.
    fn addresses_in(&self, answer: &[u8]) -> Option<DnsReply> {
        let records = self.records(answer)?;
        let (mut owner, _) = name(&self.bytes, HEADER_BYTES, &mut { STEPS_MAX })?;
        let mut ttl = TTL_MAX;
        for _ in 0..=CNAMES_MAX {
            let mut list = Vec::new();
            let mut alias = None;
            for record in records.iter().filter(|record| record.owner == owner) {
                match &record.data {
                    RecordData::Address(address) => {
                        ttl = ttl.min(record.ttl);
                        if !list.contains(address) && list.len() < ADDRESSES_MAX {
                            list.push(*address);
                        }
                    }
                    RecordData::Alias(target) => drop(alias.get_or_insert((target, record.ttl))),
                }
            }
            if !list.is_empty() {
                return Some(DnsReply::Addresses(AddressSet { list, ttl }));
            }
            let Some((target, alias_ttl)) = alias else { return Some(DnsReply::NoAddresses) };
            ttl = ttl.min(alias_ttl);
            owner.clone_from(target);
        }
        None
    }

    /// The useful records of the answer section. `None` if the section cannot be parsed to its end.
    fn records(&self, answer: &[u8]) -> Option<Vec<ResourceRecord>> {
        let mut records = Vec::new();
        let mut at = self.bytes.len();
        let mut steps = STEPS_MAX;
        for _ in 0..number(answer, 6)? {
            let (owner, fixed) = name(answer, at, &mut steps)?;
            let [kind, class, high, low, length] =
                [0, 2, 4, 6, 8].map(|offset| number(answer, fixed + offset));
            let begins = fixed + 10;
            at = begins + usize::from(length?);
            let bytes = answer.get(begins..at)?;
            let data = match (kind?, class?) {
                (CNAME, IN) => Some(RecordData::Alias(name(answer, begins, &mut steps)?.0)),
                (kind, IN) if kind == self.family.record_type() => {
                    self.family.address(bytes).map(RecordData::Address)
                }
                _ => None,
            };
            let ttl = ttl_of(u32::from(high?) << 16 | u32::from(low?));
            records.extend(data.map(|data| ResourceRecord { owner, ttl, data }));
        }
        Some(records)
    }
}

/// A record of the answer section that may be useful.
struct ResourceRecord {
    owner: Vec<u8>,
    ttl: Duration,
    data: RecordData,
}

enum RecordData {
    Address(IpAddr),
    Alias(Vec<u8>),
}

/// The 16-bit number at `at`.
fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// The name at `at`, as labels in lower case with their lengths, and the offset after it. `None` if it is longer
/// than a name may be, has too many pointers, leads out of the message, or takes more than the remaining `steps`.
fn name(message: &[u8], mut at: usize, steps: &mut usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut end, mut pointers) = (Vec::new(), None, 0);
    loop {
        *steps = steps.checked_sub(1)?;
        match *message.get(at)? {
            0 => return Some((name, end.unwrap_or(at + 1))),
            length @ 1..=63 => {
                let label = message.get(at..=at + usize::from(length))?;
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                at += label.len();
                if name.len() > NAME_BYTES_MAX {
                    return None;
                }
            }
            // A pointer must lead backwards; so a cycle contains at least one label, and ends at the
            // length limit.
            0xc0.. => {
                let target = usize::from(number(message, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                at = Some(target).filter(|target| *target < at)?;
                pointers += 1;
                if pointers > POINTERS_MAX {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

/// The lifetime of a record. RFC 2181, section 8: a TTL with the highest bit set counts as 0.
fn ttl_of(seconds: u32) -> Duration {
    let seconds = if seconds > i32::MAX as u32 { 0 } else { seconds };
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::rdata::{A, AAAA, CNAME, RData};
    use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};

    const ID: u16 = 0x1234;

    fn asked(family: Family) -> Question {
        Question::new(&HostName::parse("maps.example").unwrap(), family, ID)
    }

    /// A reply to `question` with the records that `fill` adds.
    fn answer(question: &Question, fill: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::parse(question.bytes()).unwrap().into_reply();
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
        fill(&mut packet);
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn record(owner: &'static str, ttl: u32, data: RData<'static>) -> ResourceRecord<'static> {
        ResourceRecord::new(Name::new(owner).unwrap(), CLASS::IN, ttl, data)
    }

    fn a(owner: &'static str, ttl: u32, last: u8) -> ResourceRecord<'static> {
        let address = Ipv4Addr::new(192, 0, 2, last).into();
        record(owner, ttl, RData::A(A { address }))
    }

    fn cname(owner: &'static str, ttl: u32, target: &'static str) -> ResourceRecord<'static> {
        record(owner, ttl, RData::CNAME(CNAME(Name::new(target).unwrap())))
    }

    /// The meaning of a reply with these records to the question for A.
    fn said(records: Vec<ResourceRecord<'static>>) -> Option<DnsReply> {
        let question = asked(Family::V4);
        question.read(&answer(&question, |packet| packet.answers = records), Via::Udp)
    }

    fn addresses(ttl: u64, last: &[u8]) -> Option<DnsReply> {
        let list = last.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last).into()).collect();
        Some(DnsReply::Addresses(AddressSet { list, ttl: Duration::from_secs(ttl) }))
    }

    #[test]
    fn a_query_is_one_question_that_wants_recursion() {
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
                         \x04maps\x07example\x00\x00\x01\x00\x01";
        assert_eq!(asked(Family::V4).bytes(), expected);
        assert!(asked(Family::V6).bytes().ends_with(b"example\x00\x00\x1c\x00\x01"));
    }

    #[test]
    fn whatever_is_the_name_of_a_host_can_be_asked_for() {
        let label = "a".repeat(63);
        for name in [&format!("{label}.{label}.{label}.{}", &label[2..]), "-", "_a.-b-", "7.7", "a"]
        {
            let question = Question::new(&HostName::parse(name).unwrap(), Family::V4, ID);
            // Each dot becomes a length. One more length comes first, and the root's length at the end.
            assert_eq!(question.bytes().len(), HEADER_BYTES + name.len() + 2 + 4, "{name}");
        }
    }

    #[test]
    fn addresses_are_read_with_their_least_ttl() {
        let records = vec![a("maps.example", 300, 1), a("maps.example", 60, 2)];
        assert_eq!(said(records), addresses(60, &[1, 2]));
    }

    #[test]
    fn the_other_family_is_read_likewise() {
        let question = asked(Family::V6);
        let address: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let aaaa = record("maps.example", 60, RData::AAAA(AAAA { address: address.into() }));
        let bytes = answer(&question, |p| p.answers = vec![a("maps.example", 9, 1), aaaa]);
        let list = vec![address.into()];
        let expected = DnsReply::Addresses(AddressSet { list, ttl: Duration::from_secs(60) });
        assert_eq!(question.read(&bytes, Via::Udp), Some(expected));
    }

    #[test]
    fn cnames_are_followed_in_any_order_and_their_ttl_counts() {
        let records = vec![
            a("m2.example", 300, 1),
            cname("m1.example", 20, "M2.Example"),
            cname("MAPS.example", 300, "m1.example"),
        ];
        assert_eq!(said(records), addresses(20, &[1]));
    }

    #[test]
    fn cnames_that_lead_nowhere_are_no_addresses() {
        assert_eq!(said(vec![cname("maps.example", 9, "m1.example")]), Some(DnsReply::NoAddresses));
    }

    #[test]
    fn cnames_in_a_circle_or_without_end_are_a_failure() {
        let circle =
            vec![cname("maps.example", 9, "m1.example"), cname("m1.example", 9, "maps.example")];
        assert_eq!(said(circle), Some(DnsReply::Failed));
        assert_eq!(said(vec![cname("maps.example", 9, "maps.example")]), Some(DnsReply::Failed));
        let names: Vec<&'static str> =
            (0..CNAMES_MAX + 1).map(|n| &*format!("m{n}").leak()).collect();
        let names = [&["maps.example"], names.as_slice()].concat();
        let chain = |count: usize| {
            let links = names.windows(2).take(count).map(|pair| cname(pair[0], 9, pair[1]));
            said(links.chain([a(names[count], 9, 1)]).rev().collect())
        };
        assert_eq!(chain(CNAMES_MAX), addresses(9, &[1]));
        assert_eq!(chain(CNAMES_MAX + 1), Some(DnsReply::Failed));
    }

    #[test]
    fn records_that_come_twice_count_once() {
        let twice = |record: ResourceRecord<'static>| vec![record; 20];
        let mut records = twice(cname("maps.example", 9, "m1.example"));
        records.extend(twice(a("m1.example", 9, 1)));
        records.push(a("m1.example", 9, 2));
        assert_eq!(said(records), addresses(9, &[1, 2]));
    }

    #[test]
    fn addresses_of_other_names_and_classes_are_not_ours() {
        let mut chaos = a("maps.example", 9, 1);
        chaos.class = CLASS::CH;
        let records = vec![a("example", 9, 2), a("evil.maps.example", 9, 3), chaos];
        assert_eq!(said(records), Some(DnsReply::NoAddresses));
    }

    #[test]
    fn a_ttl_with_its_highest_bit_set_is_none() {
        assert_eq!(said(vec![a("maps.example", 0x8000_0000, 1)]), addresses(0, &[1]));
        assert_eq!(said(vec![a("maps.example", 0x7fff_ffff, 1)]), addresses(3_600, &[1]));
    }

    #[test]
    fn no_more_addresses_are_kept_than_are_tried() {
        let records = (0..100).map(|last| a("maps.example", 9, last)).collect();
        let kept: Vec<u8> = (0..ADDRESSES_MAX as u8).collect();
        assert_eq!(said(records), addresses(9, &kept));
    }

    #[test]
    fn no_such_name_no_address_and_failure_are_told_apart() {
        let question = asked(Family::V4);
        for (rcode, reply) in [
            (RCODE::NoError, DnsReply::NoAddresses),
            (RCODE::NameError, DnsReply::NoSuchName),
            (RCODE::FormatError, DnsReply::Failed),
            (RCODE::ServerFailure, DnsReply::Failed),
            (RCODE::NotImplemented, DnsReply::Failed),
            (RCODE::Refused, DnsReply::Failed),
            (RCODE::Reserved, DnsReply::Failed),
        ] {
            let bytes = answer(&question, |packet| *packet.rcode_mut() = rcode);
            assert_eq!(question.read(&bytes, Via::Udp), Some(reply), "{rcode:?}");
        }
    }

    #[test]
    fn a_server_that_has_no_records_and_looks_no_further_has_not_answered() {
        let question = asked(Family::V4);
        let said = |third: u8, fourth: u8, additional: u8| {
            let mut bytes = answer(&question, |_| {});
            (bytes[2], bytes[3], bytes[11]) = (0x81 | third, fourth, additional);
            question.read(&bytes, Via::Udp)
        };
        assert_eq!(said(0, 0, 0), Some(DnsReply::Failed));
        assert_eq!(said(0x04, 0, 0), Some(DnsReply::NoAddresses), "it is authoritative");
        assert_eq!(said(0, 0x80, 0), Some(DnsReply::NoAddresses), "it asks others");
        assert_eq!(said(0, 0, 1), Some(DnsReply::NoAddresses), "it says more");
        assert_eq!(said(0, 3, 0), Some(DnsReply::NoSuchName));
    }

    #[test]
    fn a_truncated_answer_is_not_read_further() {
        let question = asked(Family::V4);
        let bytes = answer(&question, |packet| {
            packet.set_flags(PacketFlag::TRUNCATION);
            packet.answers = vec![a("maps.example", 9, 1)];
        });
        assert_eq!(question.read(&bytes, Via::Udp), Some(DnsReply::Truncated));
        assert_eq!(question.read(&bytes[..bytes.len() - 3], Via::Udp), Some(DnsReply::Truncated));
        // A TCP reply cannot become longer, so the records in it count.
        assert_eq!(question.read(&bytes, Via::Tcp), addresses(9, &[1]));
        let empty = answer(&question, |packet| packet.set_flags(PacketFlag::TRUNCATION));
        assert_eq!(question.read(&empty, Via::Tcp), Some(DnsReply::Failed));
    }

    #[test]
    fn what_does_not_answer_our_question_says_nothing() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            question.read(&bytes, Via::Udp)
        };
        assert_eq!(changed(1, 0x35), None, "another id");
        assert_eq!(changed(2, 0x01), None, "a query");
        assert_eq!(changed(5, 0), None, "no question");
        assert_eq!(changed(5, 2), None, "two questions");
        assert_eq!(changed(13, b'x'), None, "another name");
        assert_eq!(changed(27, 0x1c), None, "another type");
        assert_eq!(changed(29, 3), None, "another class");
        assert_eq!(changed(13, b'M'), addresses(9, &[1]), "the same name");
        assert_eq!(asked(Family::V6).read(&good, Via::Udp), None, "the other family");
        assert_eq!(question.read(question.bytes(), Via::Udp), None, "an echo");
    }

    #[test]
    fn a_server_that_cannot_read_the_question_need_not_repeat_it() {
        let header = |rcode: u8| [0x12, 0x34, 0x81, 0x80 | rcode, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(asked(Family::V4).read(&header(1), Via::Udp), Some(DnsReply::Failed));
        assert_eq!(asked(Family::V4).read(&header(5), Via::Udp), Some(DnsReply::Failed));
        assert_eq!(asked(Family::V4).read(&header(0), Via::Udp), None);
        assert_eq!(asked(Family::V4).read(&header(3), Via::Udp), None);
    }

    #[test]
    fn an_answer_cut_anywhere_is_none_or_a_failure() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| {
            packet.answers = vec![cname("maps.example", 9, "m1.example"), a("m1.example", 9, 1)];
        });
        for end in 0..good.len() {
            let reply = question.read(&good[..end], Via::Udp);
            let expected = (end >= question.bytes().len()).then_some(DnsReply::Failed);
            assert_eq!(reply, expected, "cut at {end}");
        }
    }

    #[test]
    fn names_that_point_in_circles_are_a_failure() {
        let question = asked(Family::V4);
        let start = question.bytes().len() as u8;
        // The name of the record points to itself, to the next byte, or to a label before itself.
        for name in [vec![0xc0, start], vec![0xc0, start + 1], vec![1, b'a', 0xc0, start]] {
            let mut bytes = answer(&question, |_| {});
            bytes[7] = 1;
            bytes.extend(name);
            bytes.extend(b"\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\xc0\x00\x02\x01");
            assert_eq!(question.read(&bytes, Via::Udp), Some(DnsReply::Failed));
        }
    }

    #[test]
    fn more_answers_than_there_is_room_for_are_a_failure() {
        let question = asked(Family::V4);
        let mut bytes = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        bytes[6..8].fill(0xff);
        assert_eq!(question.read(&bytes, Via::Udp), Some(DnsReply::Failed));
    }

    #[test]
    fn what_stands_behind_the_answers_does_no_harm() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        // First an OPT record without data, which many servers add unasked; then garbage.
        for (counts, behind) in [
            ([0, 0, 0, 1], &b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"[..]),
            ([0, 0, 0, 0], b"\xc0\x00\xff\xff"),
            ([0, 1, 0, 1], b"\xff\xff"),
            ([0xff, 0xff, 0xff, 0xff], b""),
            ([0, 0, 0, 1], &[0; 10_000]),
        ] {
            let mut bytes = [&good[..], behind].concat();
            bytes[8..12].copy_from_slice(&counts);
            assert_eq!(question.read(&bytes, Via::Tcp), addresses(9, &[1]), "{behind:?}");
        }
    }

    #[test]
    fn answers_of_other_types_and_classes_do_no_harm_whatever_is_in_them() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        let start = question.bytes().len();
        let with = |kind: u16, class: u16, data: &[u8]| {
            let length = u16::try_from(data.len()).unwrap();
            let numbers = [kind, class, 0, 9, length].map(u16::to_be_bytes);
            let record = [b"\xc0\x0c", numbers.as_flattened(), data].concat();
            let mut bytes = [&good[..start], &record, &good[start..], &record].concat();
            bytes[7] = 3;
            question.read(&bytes, Via::Udp)
        };
        // The types are AAAA, RRSIG, OPT, SVCB, HTTPS and two unknown ones. Unknown classes and A records of other
        // lengths follow.
        for kind in [28, 46, 41, 64, 65, 9_999, 0xffff] {
            for data in [&b""[..], b"\0", b"\xff\xff\xff", &[1; 40]] {
                assert_eq!(with(kind, 1, data), addresses(9, &[1]), "{kind} {data:?}");
            }
        }
        for class in [0, 3, 255, 0x8001, 0xffff] {
            assert_eq!(with(1, class, &[192, 0, 2, 9]), addresses(9, &[1]), "class {class}");
        }
        for data in [&b""[..], &[192, 0, 2], &[192, 0, 2, 9, 9]] {
            assert_eq!(with(1, 1, data), addresses(9, &[1]), "{data:?}");
        }
    }

    #[test]
    fn bits_of_the_header_that_mean_nothing_here_do_no_harm() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        // The bits: another opcode, authoritative, recursion not desired or not available, reserved, authentic, not
        // checked.
        for (third, fourth) in
            [(0x78, 0), (0x04, 0), (0x01, 0), (0, 0x80), (0, 0x40), (0, 0x20), (0, 0x10)]
        {
            let mut bytes = good.clone();
            (bytes[2], bytes[3]) = (bytes[2] ^ third, bytes[3] ^ fourth);
            assert_eq!(question.read(&bytes, Via::Udp), addresses(9, &[1]));
        }
    }

    /// The reply has one record of another type that holds `length` pointers, each to the one before it and the
    /// first to the question. The owner of `count` address records is the last pointer.
    fn chained(length: usize, count: usize) -> Option<DnsReply> {
        let question = asked(Family::V4);
        let mut bytes = answer(&question, |_| {});
        bytes[6..8].copy_from_slice(&(count as u16 + 1).to_be_bytes());
        bytes.extend(b"\0\0\x10\0\x01\0\0\0\x09");
        bytes.extend((2 * length as u16).to_be_bytes());
        let mut last = HEADER_BYTES as u16;
        for _ in 0..length {
            let at = bytes.len() as u16;
            bytes.extend((0xc000 | last).to_be_bytes());
            last = at;
        }
        for _ in 0..count {
            bytes.extend((0xc000 | last).to_be_bytes());
            bytes.extend(b"\0\x01\0\x01\0\0\0\x09\0\x04\xc0\0\x02\x01");
        }
        assert!(bytes.len() <= usize::from(u16::MAX));
        question.read(&bytes, Via::Tcp)
    }

    #[test]
    fn a_name_with_more_pointers_than_labels_fit_in_it_is_no_name() {
        // The pointer of the record itself counts.
        assert_eq!(chained(126, 1), addresses(9, &[1]));
        for length in [127, 8_000] {
            assert_eq!(chained(length, 1), Some(DnsReply::Failed), "{length}");
        }
    }

    #[test]
    fn an_answer_is_given_up_that_would_take_too_many_steps() {
        assert_eq!(chained(1, 4_000), addresses(9, &[1]));
        assert_eq!(chained(126, 4_000), Some(DnsReply::Failed));
    }

    #[test]
    fn a_query_is_what_another_writer_makes_of_it() {
        for name in ["maps.example", "a", "_x.-y.z0"] {
            let question = Question::new(&HostName::parse(name).unwrap(), Family::V6, ID);
            let packet = Packet::parse(question.bytes()).unwrap();
            assert_eq!(packet.build_bytes_vec().unwrap(), question.bytes());
            assert_eq!(packet.questions[0].qname, Name::new(name).unwrap());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = asked(Family::V4).read(&bytes, Via::Udp);
        }

                /// With a valid header and question, the parser reaches the records.
        #[test]
        fn no_records_do_harm(
            counts in prop::array::uniform3(0..4_u8),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let question = asked(Family::V4);
            let mut answer = answer(&question, |_| {});
            (answer[7], answer[9], answer[11]) = (counts[0], counts[1], counts[2]);
            answer.extend(bytes);
            let _ = question.read(&answer, Via::Udp);
        }

        #[test]
        fn no_change_to_a_good_answer_does_harm(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let question = asked(Family::V4);
            let mut bytes = answer(&question, |packet| {
                packet.answers = vec![cname("maps.example", 9, "m1.example"), a("m1.example", 9, 1)];
                packet.additional_records = vec![a("ns.example", 9, 2)];
            });
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(DnsReply::Addresses(AddressSet { list, ttl })) = question.read(&bytes, Via::Udp) {
                prop_assert!((1..=ADDRESSES_MAX).contains(&list.len()) && ttl <= TTL_MAX);
            }
        }
    }
}

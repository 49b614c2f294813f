//! Questions and answers as they travel: RFC 1035, section 4, for addresses only.
//!
//! In: a name, a family, 16 bits of chance; later the bytes that came back. Out: the bytes of a
//! query; what the answer says.
//!
//! ```text
//!   ┌ id, flags, counts ┬ question ──────────┬ records ──────────────────────────┐
//!   │ 12 bytes          │ maps.example, A    │ maps.example ─CNAME─▶ m1.example  │
//!   │                   │                    │ m1.example ─A─▶ 192.0.2.1, TTL 60 │
//!   └ the id is ours ───┴ byte by byte ours ─┴ read by simple-dns ───────────────┘
//! ```
//!
//! What does not fit our id and our question is not an answer to us, and says nothing: the true
//! answer may still come. What fits and cannot be read is an answer, of a server that has failed.
//!
//! A server repeats the question whole, so it is compared as bytes, without regard to case: neither
//! a label's length nor a type is ever a letter's byte.
//!
//! Without EDNS: addresses fit in 512 bytes; where they do not, the answer is truncated and the
//! question asked again over TCP. Twisted: names/dns.py; names/client.py, filterAnswers.

use super::cache::TTL_MAX;
use super::name::HostName;
use simple_dns::rdata::RData;
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE,
    header_buffer,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The longest answer that is read, in bytes. A few hundred addresses fit in.
pub const ANSWER_BYTES_MAX: usize = 8_192;

/// Addresses of one family that are kept; nobody tries more.
pub const ADDRESSES_MAX: usize = 16;

/// CNAMEs followed from one name. Real chains have two or three.
pub const CNAMES_MAX: usize = 8;

/// Bytes before the question.
const HEADER_BYTES: usize = 12;

/// Bytes of the smallest record: the root's name, type, class, TTL, length of nothing.
const RECORD_BYTES_MIN: usize = 11;

/// Which kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv6, by AAAA records.
    V6,
    /// IPv4, by A records.
    V4,
}

impl Family {
    fn record_type(self) -> TYPE {
        match self {
            Family::V6 => TYPE::AAAA,
            Family::V4 => TYPE::A,
        }
    }

    /// The address in a record, if it is one of this family.
    fn address(self, record: &RData<'_>) -> Option<IpAddr> {
        match (self, record) {
            (Family::V6, RData::AAAA(record)) => Some(Ipv6Addr::from(record.address).into()),
            (Family::V4, RData::A(record)) => Some(Ipv4Addr::from(record.address).into()),
            _ => None,
        }
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Here they are.
    Addresses(Addresses),
    /// The name exists, and has none of this family. RFC 2308: NODATA.
    NoAddresses,
    /// There is no such name. NXDOMAIN.
    NoSuchName,
    /// There is more than fits in a datagram: ask over TCP.
    Truncated,
    /// The server could not or would not answer, or what it sent cannot be read.
    Failed,
}

/// Addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// 1 to [`ADDRESSES_MAX`], in the order of the answer.
    pub list: Vec<IpAddr>,
    /// How long they hold: the least TTL among their records and the CNAMEs that led to them.
    pub ttl: Duration,
}

/// One question, with its id: what a query says, and what its answer must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    family: Family,
    bytes: Vec<u8>,
}

impl Question {
    /// Asks for the addresses of `name`. `id`: by chance, for this query alone.
    pub fn new(name: &HostName, family: Family, id: u16) -> Question {
        let name = Name::new(name.as_str()).expect("a host name is within the limits of a name");
        let kind = QTYPE::TYPE(family.record_type());
        let class = QCLASS::CLASS(CLASS::IN);
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(simple_dns::Question::new(name, kind, class, false));
        Question { family, bytes: packet.build_bytes_vec().expect("a vector takes all bytes") }
    }

    /// The query, as it is sent in a datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What `answer` says to this question; None if it is no answer to it.
    pub fn read(&self, answer: &[u8]) -> Option<Reply> {
        if !self.is_repeated_in(answer)? {
            return None;
        }
        let reply = match header_buffer::rcode(answer).ok()? {
            RCODE::NoError if header_buffer::has_flags(answer, PacketFlag::TRUNCATION).ok()? => {
                Reply::Truncated
            }
            RCODE::NoError => self.addresses_in(answer).unwrap_or(Reply::Failed),
            RCODE::NameError => Reply::NoSuchName,
            _ => Reply::Failed,
        };
        Some(reply)
    }

    /// Whether `answer` is one, and to this question. None: not even a header.
    fn is_repeated_in(&self, answer: &[u8]) -> Option<bool> {
        let is_ours = header_buffer::id(answer).ok()? == header_buffer::id(&self.bytes).ok()?
            && header_buffer::has_flags(answer, PacketFlag::RESPONSE).ok()?
            && header_buffer::opcode(answer).ok()? == OPCODE::StandardQuery;
        let is_repeated = match header_buffer::questions(answer).ok()? {
            // Who could not read the question cannot repeat it, and can only say so.
            0 => !matches!(header_buffer::rcode(answer).ok()?, RCODE::NoError | RCODE::NameError),
            1 => answer
                .get(HEADER_BYTES..self.bytes.len())
                .is_some_and(|question| question.eq_ignore_ascii_case(&self.bytes[HEADER_BYTES..])),
            _ => false,
        };
        Some(is_ours && is_repeated)
    }

    /// Looks for addresses, along the CNAMEs. None: it cannot be read, or leads in circles.
    fn addresses_in(&self, answer: &[u8]) -> Option<Reply> {
        if answer.len() > ANSWER_BYTES_MAX || records(answer)? > answer.len() / RECORD_BYTES_MIN {
            return None;
        }
        let packet = Packet::parse(answer).ok()?;
        let mut owner = &packet.questions.first()?.qname;
        let mut ttl = TTL_MAX;
        for _ in 0..=CNAMES_MAX {
            let of_owner =
                |record: &&ResourceRecord<'_>| record.class == CLASS::IN && record.name == *owner;
            let mut list = Vec::new();
            let mut alias = None;
            for record in packet.answers.iter().filter(of_owner) {
                if let Some(address) = self.family.address(&record.rdata) {
                    ttl = ttl.min(ttl_of(record));
                    list.push(address);
                } else if let RData::CNAME(target) = &record.rdata {
                    alias = Some((&target.0, ttl_of(record)));
                }
            }
            if !list.is_empty() {
                list.truncate(ADDRESSES_MAX);
                return Some(Reply::Addresses(Addresses { list, ttl }));
            }
            let Some((target, alias_ttl)) = alias else { return Some(Reply::NoAddresses) };
            ttl = ttl.min(alias_ttl);
            owner = target;
        }
        None
    }
}

/// The records that `answer` claims to have. Asked first, because simple-dns makes room for all of
/// them before it reads one.
fn records(answer: &[u8]) -> Option<usize> {
    let answers = header_buffer::answers(answer).ok()?;
    let name_servers = header_buffer::name_servers(answer).ok()?;
    let additional = header_buffer::additional_records(answer).ok()?;
    Some(usize::from(answers) + usize::from(name_servers) + usize::from(additional))
}

/// How long a record holds. RFC 2181, section 8: with the highest bit set, not at all.
fn ttl_of(record: &ResourceRecord<'_>) -> Duration {
    let seconds = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::rdata::{A, AAAA, CNAME};

    const ID: u16 = 0x1234;

    fn asked(family: Family) -> Question {
        Question::new(&HostName::parse("maps.example").unwrap(), family, ID)
    }

    /// An answer to `question` with what `fill` puts in.
    fn answer(question: &Question, fill: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::parse(question.bytes()).unwrap().into_reply();
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

    /// What an answer with these records says to the question for A.
    fn said(records: Vec<ResourceRecord<'static>>) -> Option<Reply> {
        let question = asked(Family::V4);
        question.read(&answer(&question, |packet| packet.answers = records))
    }

    fn addresses(ttl: u64, last: &[u8]) -> Option<Reply> {
        let list = last.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last).into()).collect();
        Some(Reply::Addresses(Addresses { list, ttl: Duration::from_secs(ttl) }))
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
            // In the place of each dot is a length; one more in front, and at the end the root's.
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
        let expected = Reply::Addresses(Addresses { list, ttl: Duration::from_secs(60) });
        assert_eq!(question.read(&bytes), Some(expected));
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
        assert_eq!(said(vec![cname("maps.example", 9, "m1.example")]), Some(Reply::NoAddresses));
    }

    #[test]
    fn cnames_in_a_circle_or_without_end_are_a_failure() {
        let circle =
            vec![cname("maps.example", 9, "m1.example"), cname("m1.example", 9, "maps.example")];
        assert_eq!(said(circle), Some(Reply::Failed));
        assert_eq!(said(vec![cname("maps.example", 9, "maps.example")]), Some(Reply::Failed));
        let names = ["maps.example", "a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let chain = |count: usize| {
            let links = names.windows(2).take(count).map(|pair| cname(pair[0], 9, pair[1]));
            said(links.chain([a(names[count], 9, 1)]).collect())
        };
        assert_eq!(chain(CNAMES_MAX), addresses(9, &[1]));
        assert_eq!(chain(CNAMES_MAX + 1), Some(Reply::Failed));
    }

    #[test]
    fn addresses_of_other_names_and_classes_are_not_ours() {
        let mut chaos = a("maps.example", 9, 1);
        chaos.class = CLASS::CH;
        let records = vec![a("example", 9, 2), a("evil.maps.example", 9, 3), chaos];
        assert_eq!(said(records), Some(Reply::NoAddresses));
    }

    #[test]
    fn a_ttl_with_its_highest_bit_set_is_none() {
        assert_eq!(said(vec![a("maps.example", 0x8000_0000, 1)]), addresses(0, &[1]));
        assert_eq!(said(vec![a("maps.example", 0x7fff_ffff, 1)]), addresses(3_600, &[1]));
    }

    #[test]
    fn no_more_addresses_are_kept_than_anybody_tries() {
        let records = (0..100).map(|last| a("maps.example", 9, last)).collect();
        let kept: Vec<u8> = (0..ADDRESSES_MAX as u8).collect();
        assert_eq!(said(records), addresses(9, &kept));
    }

    #[test]
    fn no_such_name_no_address_and_failure_are_told_apart() {
        let question = asked(Family::V4);
        for (rcode, reply) in [
            (RCODE::NoError, Reply::NoAddresses),
            (RCODE::NameError, Reply::NoSuchName),
            (RCODE::FormatError, Reply::Failed),
            (RCODE::ServerFailure, Reply::Failed),
            (RCODE::NotImplemented, Reply::Failed),
            (RCODE::Refused, Reply::Failed),
            (RCODE::Reserved, Reply::Failed),
        ] {
            let bytes = answer(&question, |packet| *packet.rcode_mut() = rcode);
            assert_eq!(question.read(&bytes), Some(reply), "{rcode:?}");
        }
    }

    #[test]
    fn a_truncated_answer_is_not_read_further() {
        let question = asked(Family::V4);
        let bytes = answer(&question, |packet| {
            packet.set_flags(PacketFlag::TRUNCATION);
            packet.answers = vec![a("maps.example", 9, 1)];
        });
        assert_eq!(question.read(&bytes), Some(Reply::Truncated));
        assert_eq!(question.read(&bytes[..bytes.len() - 3]), Some(Reply::Truncated));
    }

    #[test]
    fn what_does_not_answer_our_question_says_nothing() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            question.read(&bytes)
        };
        assert_eq!(changed(1, 0x35), None, "another id");
        assert_eq!(changed(2, 0x01), None, "a query");
        assert_eq!(changed(2, 0x91), None, "another opcode");
        assert_eq!(changed(5, 0), None, "no question");
        assert_eq!(changed(5, 2), None, "two questions");
        assert_eq!(changed(13, b'x'), None, "another name");
        assert_eq!(changed(27, 0x1c), None, "another type");
        assert_eq!(changed(29, 3), None, "another class");
        assert_eq!(changed(13, b'M'), addresses(9, &[1]), "the same name");
        assert_eq!(asked(Family::V6).read(&good), None, "the other family");
        assert_eq!(question.read(question.bytes()), None, "an echo");
    }

    #[test]
    fn a_server_that_cannot_read_the_question_need_not_repeat_it() {
        let header = |rcode: u8| [0x12, 0x34, 0x81, 0x80 | rcode, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(asked(Family::V4).read(&header(1)), Some(Reply::Failed));
        assert_eq!(asked(Family::V4).read(&header(5)), Some(Reply::Failed));
        assert_eq!(asked(Family::V4).read(&header(0)), None);
        assert_eq!(asked(Family::V4).read(&header(3)), None);
    }

    #[test]
    fn an_answer_cut_anywhere_is_none_or_a_failure() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| {
            packet.answers = vec![cname("maps.example", 9, "m1.example"), a("m1.example", 9, 1)];
        });
        for end in 0..good.len() {
            let reply = question.read(&good[..end]);
            let expected = (end >= question.bytes().len()).then_some(Reply::Failed);
            assert_eq!(reply, expected, "cut at {end}");
        }
    }

    #[test]
    fn names_that_point_in_circles_are_a_failure() {
        let question = asked(Family::V4);
        let start = question.bytes().len() as u8;
        // A record whose name points to itself, to the next byte, and to a label before itself.
        for name in [vec![0xc0, start], vec![0xc0, start + 1], vec![1, b'a', 0xc0, start]] {
            let mut bytes = answer(&question, |_| {});
            bytes[7] = 1;
            bytes.extend(name);
            bytes.extend(b"\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\xc0\x00\x02\x01");
            assert_eq!(question.read(&bytes), Some(Reply::Failed));
        }
    }

    #[test]
    fn more_records_than_there_is_room_for_are_a_failure() {
        let question = asked(Family::V4);
        let good = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        for count in [6, 8, 10] {
            let mut bytes = good.clone();
            bytes[count..count + 2].fill(0xff);
            assert_eq!(question.read(&bytes), Some(Reply::Failed));
        }
        let mut long = good.clone();
        long.resize(ANSWER_BYTES_MAX + 1, 0);
        assert_eq!(question.read(&long), Some(Reply::Failed));
    }

    #[test]
    fn additional_records_do_no_harm() {
        // An OPT record without data, as many servers add uninvited.
        let question = asked(Family::V4);
        let mut bytes = answer(&question, |packet| packet.answers = vec![a("maps.example", 9, 1)]);
        bytes[11] = 1;
        bytes.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
        assert_eq!(question.read(&bytes), addresses(9, &[1]));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = asked(Family::V4).read(&bytes);
        }

        /// After a good header and question the reader goes further.
        #[test]
        fn no_records_do_harm(
            counts in prop::array::uniform3(0..4_u8),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let question = asked(Family::V4);
            let mut answer = answer(&question, |_| {});
            (answer[7], answer[9], answer[11]) = (counts[0], counts[1], counts[2]);
            answer.extend(bytes);
            let _ = question.read(&answer);
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
            if let Some(Reply::Addresses(Addresses { list, ttl })) = question.read(&bytes) {
                prop_assert!((1..=ADDRESSES_MAX).contains(&list.len()) && ttl <= TTL_MAX);
            }
        }
    }
}

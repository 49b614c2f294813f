//! The faults of a server, a cluster and its disks, as data: rates, and events.
//!
//! A rate is in permille of the cases and lasts until it is set again; an event ([`Act`]) happens once, and may last
//! for a time. Both can be chosen by a [`Dice`], so that a simulation names its faults by a seed.

use super::super::dice::Dice;
use std::ops::RangeInclusive;
use std::time::Duration;

const ZERO: RangeInclusive<Duration> = Duration::ZERO..=Duration::ZERO;

/// What goes wrong, in permille, and the times that things take. The default is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Puts that are stored and not answered.
    pub lost_acks: u32,
    /// Puts that are neither stored nor answered.
    pub lost_puts: u32,
    /// Puts that are not answered, and stored after [`late_by`](Faults::late_by), if their sequence is still right.
    /// Half of them are acknowledged then.
    pub late_puts: u32,
    pub late_by: RangeInclusive<Duration>,
    /// Puts that are answered 503.
    pub unavailable_puts: u32,
    /// Puts that are refused with 10071 or 10164 although their sequence is right (nats-server#7281).
    pub false_conflicts: u32,
    /// JetStream requests that are answered 10008.
    pub failing_requests: u32,
    /// JetStream requests that are not answered, though carried out.
    pub lost_answers: u32,
    /// Deliveries that are lost: the consumer's sequence has a gap.
    pub lost_deliveries: u32,
    /// The time from the acceptance of a put to its storing. Meanwhile other puts to its key are refused with 10164.
    pub commit: RangeInclusive<Duration>,
    /// The time from the storing of a put to its ack: acks overtake each other.
    pub ack_delay: RangeInclusive<Duration>,
    /// The time that each answer to a JetStream request takes.
    pub answer_delay: RangeInclusive<Duration>,
    /// At most so many bytes are sent to a connection in each interval.
    pub trickle: Option<(usize, Duration)>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            lost_acks: 0,
            lost_puts: 0,
            late_puts: 0,
            late_by: Duration::from_secs(1)..=Duration::from_secs(20),
            unavailable_puts: 0,
            false_conflicts: 0,
            failing_requests: 0,
            lost_answers: 0,
            lost_deliveries: 0,
            commit: ZERO,
            ack_delay: ZERO,
            answer_delay: ZERO,
            trickle: None,
        }
    }
}

impl Faults {
    /// Some rates, chosen by `dice`; each is 0 in half of the cases.
    pub(crate) fn random(dice: &mut Dice) -> Faults {
        let mut permille = |most| if dice.percent(50) { 0 } else { dice.within(0..=most) as u32 };
        let mut faults = Faults {
            lost_acks: permille(100),
            lost_puts: permille(50),
            late_puts: permille(50),
            unavailable_puts: permille(50),
            false_conflicts: permille(50),
            failing_requests: permille(100),
            lost_answers: permille(50),
            lost_deliveries: permille(20),
            ..Faults::default()
        };
        let mut up_to = |most_ms| match dice.percent(50) {
            true => ZERO,
            false => Duration::ZERO..=Duration::from_millis(dice.within(0..=most_ms)),
        };
        faults.commit = up_to(20);
        faults.ack_delay = up_to(300);
        faults.answer_delay = up_to(500);
        if dice.percent(10) {
            let bytes = dice.within(20..=2_000) as usize;
            faults.trickle = Some((bytes, Duration::from_millis(dice.within(1..=20))));
        }
        faults
    }
}

/// How a consumer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is said; the consumer is gone.
    Silent,
    /// Waiting requests hear `409 Consumer Deleted`.
    Deleted,
    /// Waiting requests hear `409 Leadership Change`; the consumer stays.
    LeadershipChange,
}

/// Something that happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// For this time puts are answered 503, and JetStream requests 10008.
    Unavailable(Duration),
    /// For this time puts are not answered, and are stored at its end. After 12 s puts are answered 503.
    NoQuorum(Duration),
    /// For this time nothing is delivered, but heartbeats go on.
    Mute(Duration),
    /// Puts are not answered, and 2.9.10 answers no request, until [`Act::Restart`].
    FillDisk,
    /// The server is started again: all connections and consumers are gone, and the streams in memory, too.
    Restart,
    /// All streams forget their last puts. What becomes of their consumers is left to chance.
    GoBack(u64),
    DeleteStreams,
    /// All streams are deleted and made again, empty.
    RemakeStreams,
    /// All sequences grow by this number. What becomes of the consumers is left to chance.
    Renumber(u64),
    EndConsumers(Ending),
    /// The next delivery of each consumer is lost.
    Gap,
    /// INFO says `ldm`, and after this time all connections of the node are closed.
    LameDuck {
        node: usize,
        grace: Duration,
    },
    /// All connections of the node are closed without a word.
    Close {
        node: usize,
    },
    /// All connections of the node are reset.
    Reset {
        node: usize,
    },
    /// All connections of the node are closed in the middle of their next message.
    CutMessage {
        node: usize,
    },
    /// The node is gone, with its consumers. Of a cluster another node becomes the leader, after some seconds of 503;
    /// without a majority puts wait as with [`Act::NoQuorum`].
    Kill {
        node: usize,
    },
    Start {
        node: usize,
    },
    /// From now on a login ends in `-ERR 'User Authentication Expired'` after PONG, and so do all connections now.
    ExpireCredentials,
    RenewCredentials,
    /// All faults end: rates, times, killed nodes, full disks, expired credentials.
    Calm,
}

impl Act {
    /// An event for a server with so many nodes. Everything that lasts ends by itself, or by [`Act::Calm`].
    pub(crate) fn random(dice: &mut Dice, nodes: usize) -> Act {
        let node = dice.below(nodes);
        let time = Duration::from_millis(dice.within(100..=10_000));
        let ending = dice.one_of(&[Ending::Silent, Ending::Deleted, Ending::LeadershipChange]);
        match dice.below(20) {
            0 => Act::Unavailable(time),
            1 => Act::NoQuorum(2 * time),
            2 => Act::Mute(time),
            3 => Act::FillDisk,
            4 | 5 => Act::Restart,
            6 => Act::GoBack(dice.within(1..=20)),
            7 => Act::DeleteStreams,
            8 => Act::RemakeStreams,
            9 => Act::Renumber(dice.within(1..=20)),
            10 => Act::EndConsumers(ending),
            11 => Act::Gap,
            12 => Act::LameDuck { node, grace: time },
            13 => Act::Close { node },
            14 => Act::Reset { node },
            15 => Act::CutMessage { node },
            16 | 17 => Act::Kill { node },
            18 => Act::Start { node },
            _ => dice.one_of(&[Act::ExpireCredentials, Act::RenewCredentials, Act::Restart]),
        }
    }
}

//! Carries out the events of [`Act`]: what becomes of connections, streams and consumers.

use super::faults::{Act, Ending, Faults};
use super::streams::Stream;
use super::world::{Due, Outgoing, World};
use std::time::Duration;

impl World {
    pub fn act(&mut self, act: &Act) {
        match *act {
            Act::Unavailable(time) => self.troubles.unavailable_until = self.now + time,
            Act::NoQuorum(time) => self.lose_quorum(time),
            Act::Mute(time) => {
                self.troubles.mute_until = self.now + time;
                self.call_later(time, Due::Recovery);
            }
            Act::FillDisk => self.troubles.is_disk_full = true,
            Act::Restart => self.restart(),
            Act::GoBack(puts) => {
                self.streams.iter_mut().for_each(|stream| stream.go_back(puts));
                self.disturb_consumers();
            }
            Act::DeleteStreams => self.delete_streams(false),
            Act::RemakeStreams => self.delete_streams(true),
            Act::Renumber(by) => {
                self.streams.iter_mut().for_each(|stream| stream.renumber(by));
                self.disturb_consumers();
            }
            Act::EndConsumers(ending) => self.end_consumers(ending),
            Act::Gap => {
                let all = self.streams.iter_mut().flat_map(|its| its.consumers.values_mut());
                all.for_each(|consumer| consumer.loses_next = true);
            }
            Act::LameDuck { node, grace } => {
                self.troubles.lame.insert(node);
                let mut all = self.of_node(node);
                all.retain(|id| self.connections.get(id).is_some_and(|its| its.takes_info));
                for id in all {
                    let info = self.info(id, node, "", false);
                    self.write(id, &info);
                }
                self.call_later(grace, Due::NodeEnds(node));
            }
            Act::Close { node } => self.of_node(node).into_iter().for_each(|id| self.close(id)),
            Act::Reset { node } => self.reset(node),
            Act::CutMessage { node } => {
                let all = self.connections.values_mut().filter(|its| its.node == node);
                all.for_each(|connection| connection.is_cut = true);
            }
            Act::Kill { node } => self.kill(node),
            Act::Start { node } => self.start(node),
            Act::ExpireCredentials => {
                self.troubles.are_credentials_expired = true;
                for node in 0..self.settings.nodes {
                    for id in self.of_node(node) {
                        self.refuse(id, "User Authentication Expired");
                    }
                }
            }
            Act::RenewCredentials => self.troubles.are_credentials_expired = false,
            Act::Calm => self.calm(),
        }
    }

    fn lose_quorum(&mut self, time: Duration) {
        let since = self.troubles.no_quorum.map_or(self.now, |(since, _)| since);
        self.troubles.no_quorum = Some((since, self.now + time));
        self.call_later(time, Due::Recovery);
    }

    fn reset(&mut self, node: usize) {
        for id in self.of_node(node) {
            self.connections.remove(&id);
            self.outgoing.push(Outgoing::Abort(id));
        }
    }

    fn restart(&mut self) {
        self.troubles.is_disk_full = false;
        self.in_flight.clear();
        for node in 0..self.settings.nodes {
            self.reset(node);
            self.troubles.lame.remove(&node);
        }
        for name in self.streams.names() {
            if self.streams.get(&name).is_some_and(|stream| stream.config.is_in_memory) {
                self.streams.remove(&name);
            }
        }
        self.end_consumers(Ending::Silent);
    }

    fn delete_streams(&mut self, again: bool) {
        self.end_consumers(Ending::Deleted);
        for name in self.streams.names() {
            let gone = self.streams.remove(&name);
            if let Some(gone) = gone.filter(|_| again) {
                self.streams.insert(Stream::new(gone.config, self.wall));
            }
        }
    }

    fn kill(&mut self, node: usize) {
        self.reset(node);
        self.troubles.down.insert(node);
        for stream in self.streams.iter_mut() {
            stream.consumers.retain(|_, consumer| consumer.node != node);
        }
        let down = self.troubles.down.len();
        if down * 2 >= self.settings.nodes && self.settings.nodes > 1 {
            // It is back when a node is.
            self.lose_quorum(Duration::from_secs(1_000_000_000));
        } else if self.leader == node {
            let up = (0..self.settings.nodes).filter(|its| !self.troubles.down.contains(its));
            let up: Vec<usize> = up.collect();
            if !up.is_empty() {
                self.leader = self.dice.one_of(&up);
            }
            let time = Duration::from_millis(self.dice.within(1_000..=6_000));
            self.troubles.unavailable_until = self.now + time;
        }
    }

    fn start(&mut self, node: usize) {
        let was_down = self.troubles.down.remove(&node);
        self.troubles.lame.remove(&node);
        if was_down && self.troubles.down.len() * 2 < self.settings.nodes {
            if let Some((since, _)) = self.troubles.no_quorum {
                self.troubles.no_quorum = Some((since, self.now));
            }
            self.recover();
        }
    }

    fn calm(&mut self) {
        self.faults = Faults::default();
        for node in 0..self.settings.nodes {
            self.start(node);
        }
        if self.troubles.is_disk_full {
            self.restart();
        }
        if let Some((since, _)) = self.troubles.no_quorum {
            self.troubles.no_quorum = Some((since, self.now));
        }
        self.troubles.unavailable_until = self.now;
        self.troubles.mute_until = self.now;
        self.troubles.are_credentials_expired = false;
        self.connections.values_mut().for_each(|connection| connection.is_cut = false);
        self.recover();
    }

    fn end_consumers(&mut self, ending: Ending) {
        for stream in self.streams.names() {
            let Some(its) = self.streams.get_mut(&stream) else { continue };
            let mut waiting = Vec::new();
            match ending {
                Ending::Silent => its.consumers.clear(),
                Ending::Deleted => {
                    let ended = std::mem::take(&mut its.consumers);
                    waiting.extend(ended.into_values().flat_map(|its| its.waiting));
                    self.tell_waiting(waiting, "409 Consumer Deleted");
                }
                Ending::LeadershipChange => {
                    for consumer in its.consumers.values_mut() {
                        waiting.extend(consumer.waiting.drain(..));
                    }
                    self.tell_waiting(waiting, "409 Leadership Change");
                }
            }
        }
    }

    /// The stream's sequences have changed: the consumers end, or go on from where the stream is now.
    fn disturb_consumers(&mut self) {
        match self.dice.below(3) {
            0 => self.end_consumers(Ending::Silent),
            1 => self.end_consumers(Ending::Deleted),
            _ => {}
        }
        for stream in self.streams.iter_mut() {
            let mut consumers = std::mem::take(&mut stream.consumers);
            for consumer in consumers.values_mut() {
                consumer.cursor = consumer.cursor.min(stream.last);
                consumer.pending = stream.pending(consumer);
            }
            stream.consumers = consumers;
        }
        self.deliver_all();
    }
}

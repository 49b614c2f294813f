//! Deliveries to consumers, and what their requests hear when nothing is delivered: heartbeats, 408 and 409.

use super::consumers::Waiting;
use super::world::{Due, Reply, World, hears};

impl World {
    /// Delivers what requests wait for.
    pub(super) fn deliver(&mut self, stream: &str) {
        if self.troubles.mute_until > self.now {
            return;
        }
        let Some(its) = self.streams.get(stream) else { return };
        let consumers: Vec<String> = its.consumers.keys().cloned().collect();
        for consumer in consumers {
            loop {
                let Some(its) = self.streams.get_mut(stream) else { return };
                let connections = &self.connections;
                let hears = |subject: &[u8]| hears(connections, subject);
                let Some(delivery) = its.next_delivery(&consumer, self.now, hears) else { break };
                let its = its.consumers.get_mut(&consumer).expect("it has just delivered");
                let is_lost = std::mem::take(&mut its.loses_next);
                self.counters.deliveries += 1;
                if !is_lost && !self.happens(self.faults.lost_deliveries) {
                    let of = &delivery.message;
                    let reply = delivery.reply.as_bytes();
                    self.send(&delivery.to, &of.subject, reply, &of.headers, &of.payload, false);
                }
            }
        }
    }

    pub(super) fn deliver_all(&mut self) {
        for stream in self.streams.names() {
            self.deliver(&stream);
        }
    }

    /// Sends a status to a request.
    pub(super) fn status(&mut self, request: &[u8], status: &str) {
        let headers = format!("NATS/1.0 {status}\r\n\r\n").into_bytes();
        self.reply(Reply { to: request.to_vec(), headers, payload: Vec::new(), is_internal: true });
    }

    /// Sends `status` to each of these requests.
    pub(super) fn tell_waiting(
        &mut self,
        waiting: impl IntoIterator<Item = Waiting>,
        status: &str,
    ) {
        for request in waiting {
            self.status(&request.reply, status);
        }
    }

    pub(super) fn expire(&mut self, stream: &str, consumer: &str, request: u64) {
        let Some(its) = self.streams.get_mut(stream) else { return };
        let Some(consumer) = its.consumers.get_mut(consumer) else { return };
        if let Some(request) = consumer.take_request(request) {
            consumer.last_active = self.now;
            let left = request.left;
            let status = format!(
                "408 Request Timeout\r\nNats-Pending-Messages: {left}\r\nNats-Pending-Bytes: 0"
            );
            self.status(&request.reply, &status);
        }
    }

    pub(super) fn heartbeat(&mut self, stream: String, consumer: String, request: u64) {
        let now = self.now;
        let Some(its) = self.streams.get_mut(&stream) else { return };
        let Some(its) = its.consumers.get_mut(&consumer) else { return };
        let (delivered, last) = (its.delivered, its.last_stream);
        let Some(waiting) = its.request(request) else { return };
        let Some(every) = waiting.heartbeat else { return };
        let is_idle = now >= waiting.active + every;
        if is_idle {
            waiting.active = now;
        }
        let (reply, next) = (waiting.reply.clone(), (waiting.active + every).since(now));
        if is_idle {
            let status = format!(
                "100 Idle Heartbeat\r\nNats-Last-Consumer: {delivered}\r\nNats-Last-Stream: {last}"
            );
            self.status(&reply, &status);
        }
        self.call_later(next, Due::Heartbeat { stream, consumer, request });
    }

    pub(super) fn remove_if_inactive(&mut self, stream: String, consumer: String) {
        let now = self.now;
        let connections = &self.connections;
        let Some(its) = self.streams.get_mut(&stream) else { return };
        let Some(found) = its.consumers.get_mut(&consumer) else { return };
        found.waiting.retain(|request| hears(connections, &request.reply));
        if !found.waiting.is_empty() {
            found.last_active = now;
        }
        let until = found.last_active + found.inactive_threshold;
        if until <= now {
            its.consumers.remove(&consumer);
        } else {
            self.call_later(until.since(now), Due::Inactive { stream, consumer });
        }
    }
}

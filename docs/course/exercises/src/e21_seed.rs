//! Exercise 21 (chapter 12, 3 points): find the seed, and mend two bugs.
//!
//! A customer pays amounts into a bank, one after the other: `DEPOSIT id amount`. The bank answers `OK id`. If the
//! connection is lost, the customer does not know whether the bank has taken the deposit; it connects again and
//! sends it again. The bank takes no id twice, so that is safe.
//!
//! All this works on a calm network. The test runs it with 200 seeds on a network that delivers bytes in small
//! pieces and resets connections. With most seeds, a deposit is taken twice. With a few, the customer waits for
//! ever. The test prints the log of the first such run: read it. Both bugs are in the customer.
//!
//! The promise:
//!
//! * Each deposit is taken exactly once, and all of them within a minute, with every seed.

use herd_reactor::line_receiver::{LineProtocol, Mode};
use herd_reactor::{CloseReason, Context, Flow, Protocol, Shared};
use std::collections::VecDeque;

/// The state of both sides.
#[derive(Default)]
pub struct World {
    /// The bank: the sum of all deposits, and the id of the last one.
    pub balance: u64,
    pub last_id: u64,
    /// The customer: the amounts that are not known to be taken, and the id of the one that was sent last.
    pub amounts: VecDeque<u64>,
    pub id: u64,
    /// The customer: what has arrived of a line.
    pub kept: Vec<u8>,
    /// What has happened.
    pub log: Vec<String>,
}

impl Shared for World {
    type Message = ();
}

/// The bank's end of a connection.
pub struct Bank;

impl LineProtocol<World> for Bank {
    fn line_received(&mut self, cx: &mut Context<'_, World>, line: &[u8]) -> Flow<Mode> {
        let line = std::str::from_utf8(line)?;
        let words: Vec<&str> = line.split(' ').collect();
        let &["DEPOSIT", id, amount] = &words[..] else { return Ok(Mode::Lines) };
        let (number, amount): (u64, u64) = (id.parse()?, amount.parse()?);
        let is_new = number > cx.state.last_id;
        if is_new {
            cx.state.last_id = number;
            cx.state.balance += amount;
        }
        let did = if is_new { "takes" } else { "knows" };
        cx.state.log.push(format!("{:?} the bank {did} {line:?}", cx.core.now()));
        cx.write(format!("OK {id}\n").as_bytes());
        Ok(Mode::Lines)
    }
}

/// The customer's end of a connection.
#[derive(Default)]
pub struct Customer;

impl Customer {
    /// Sends the next deposit, if there is one.
    fn send(&mut self, cx: &mut Context<'_, World>) {
        let Some(amount) = cx.state.amounts.front() else { return };
        cx.state.id += 1;
        let line = format!("DEPOSIT {} {amount}", cx.state.id);
        cx.state.log.push(format!("{:?} the customer sends {line:?}", cx.core.now()));
        cx.write(format!("{line}\n").as_bytes());
    }
}

impl Protocol<World> for Customer {
    fn connection_made(&mut self, cx: &mut Context<'_, World>) -> Flow {
        cx.state.log.push(format!("{:?} the customer is connected", cx.core.now()));
        self.send(cx);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, World>, data: &[u8]) -> Flow {
        cx.state.kept.extend_from_slice(data);
        while let Some(end) = cx.state.kept.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = cx.state.kept.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            cx.state.log.push(format!("{:?} the customer hears {line:?}", cx.core.now()));
            if line == format!("OK {}", cx.state.id) {
                cx.state.amounts.pop_front();
                self.send(cx);
            }
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, World>, why: &CloseReason) {
        cx.state.log.push(format!("{:?} the customer is cut off: {why}", cx.core.now()));
    }
}

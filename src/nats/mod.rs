//! The client side of NATS, and of a JetStream key-value bucket, as values without IO.
//!
//! In: bytes from a server, split anywhere. Out: a [`ServerOp`] for each of its operations; the bytes of our requests.
//!
//! ```text
//!   < INFO {...}            ServerInfo            what the server is, and what it asks of a client
//!   > CONNECT {...}, PING   write_connect         with a Login; PONG says that it was accepted
//!   > HPUB $KV.herd.kiwi    Bucket::write_put     conditional, always: nothing newer is overwritten
//!   < MSG _INBOX...         PutReply, StreamState, ConsumerState, LeaderMessage
//!   > PUB ...MSG.NEXT       Bucket::write_next    asks for the next deliveries of a pull consumer
//!   < HMSG $KV.herd.kiwi    Delivery, AckSubject  a stored line, its sequence and time
//! ```
//!
//! To read on: `reader.rs` and `headers.rs`, the framing; `info.rs`, `url.rs` and `login.rs`, the greeting; `outgoing.rs`;
//! `bucket.rs`, JetStream's requests, and `replies.rs`, their answers; `keys.rs`.
//!
//! It does not know a connection, a clock, the table or the configuration. No error and no [`Debug`](std::fmt::Debug)
//! text shows a password, a token, a seed or a JWT.
//!
//! Sources: docs.nats.io, "Client Protocol" and "JetStream wire API Reference"; the codes of errors are those of
//! nats-server 2.9 to 2.15.

mod bucket;
mod headers;
mod info;
mod keys;
mod login;
mod outgoing;
mod reader;
mod replies;
mod url;

pub use bucket::{Bucket, BucketOptions, CHECK_KEY, Storage, WatchStart};
pub use headers::NatsHeaders;
pub use info::ServerInfo;
pub use keys::{KEY_BYTES_MAX, base62, read_key, write_key};
pub use login::{Jwt, Login, Nkey};
pub use outgoing::{PING, PONG, write_connect, write_pub, write_sub, write_unsub};
pub use reader::{Delivery, NatsReader, ServerOp};
pub use replies::{AckSubject, ApiError, ConsumerState, LeaderMessage, PutReply, StreamState};
pub use url::NatsUrl;

use std::fmt;

/// What a server did wrong, or why it cannot be used. It costs the connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NatsError(String);

impl NatsError {
    fn new(what: impl Into<String>) -> NatsError {
        NatsError(what.into())
    }
}

impl fmt::Display for NatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NatsError {}

/// Parses an unsigned decimal; `None` for anything else, and for one that needs more than 64 bits.
fn number(text: &[u8]) -> Option<u64> {
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    number.filter(|_| !text.is_empty())
}

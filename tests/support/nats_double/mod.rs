//! A NATS server with JetStream that follows the protocol, and shows every fault that a server, a cluster or a
//! network can have.
//!
//! ```text
//!   bytes ──▶ Serving ──ClientOp──▶ World ──Outgoing──▶ Serving ──▶ MemoryIo: in a cluster, on its clock
//!             (a Protocol)          (no IO)                    └──▶ MioIo: in a thread (NatsThread), on loopback
//! ```
//!
//! A [`NatsDouble`] is a handle of one [`World`]: the streams, and the connections of all nodes. Each of its nodes
//! is a factory for any reactor ([`NatsDouble::node`]), and all nodes must listen in the same reactor. A simulation
//! hosts them outside of its servers, as it hosts fake Google:
//!
//! ```text
//!     let double = NatsDouble::new(seed, Settings { nodes: 3, ..Settings::default() });
//!     for (node, address) in addresses.into_iter().enumerate() {
//!         cluster.host(address, Box::new(double.node(node)));
//!     }
//!     cluster.run_for(SECOND);
//!     double.world().faults.lost_acks = 100;               // a tenth of the puts from now on
//!     double.act(cluster.outside_core(), &Act::GoBack(3));  // at once
//!     cluster.settle();
//!     assert_eq!(double.world().streams.bucket("herd"), newest);
//! ```
//!
//! * `reader`: what a client sends, strictly. * `subjects`: wildcards. * `login`: credentials.
//! * `streams`: streams and their messages. * `consumers`: pull consumers. * `api`: the JetStream requests.
//! * `puts`: the way of a put. * `deliveries`: to consumers. * `world`: connections, routing and deadlines.
//! * `faults`: faults and events, as data. * `events`: carries them out.
//! * `serving`: the protocol. * `thread`: the server in a thread. * `time`: dates.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test that uses this uses a part of it"
)]

mod api;
mod consumers;
mod deliveries;
mod events;
mod faults;
mod login;
mod puts;
mod reader;
mod serving;
mod streams;
mod subjects;
mod thread;
mod time;
mod world;

pub use self::faults::{Act, Ending, Faults};
pub use self::login::{LoginRule, PublicKey, seed_text};
pub use self::serving::NodePort;
pub use self::streams::{Message, Stream, Streams};
pub use self::thread::NatsThread;
pub use self::world::{Counters, World};

use herd_reactor::{Core, Shared};
use rustls::ServerConfig;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The version whose manners the double has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// 2.9.10: it ignores unknown JSON fields, clamps start sequences, and is silent about consumers that are gone.
    V2_9,
    /// 2.15.1.
    #[default]
    V2_15,
}

/// What the server is; see also [`Faults`].
#[derive(Clone, Debug)]
pub struct Settings {
    pub manner: Manner,
    /// The number of nodes. A stream may have as many replicas.
    pub nodes: usize,
    pub jetstream: bool,
    pub max_payload: usize,
    pub login: LoginRule,
    /// If set, TLS begins after INFO.
    pub tls: Option<Arc<ServerConfig>>,
    /// The `connect_urls` of INFO.
    pub connect_urls: Vec<String>,
    /// The interval of PING; the first comes after 2 s. Two unanswered ones end the connection.
    pub ping_interval: Duration,
    /// Subjects to which no client may publish, with wildcards.
    pub publish_denied: Vec<String>,
    /// The JSON to be sent as INFO instead of the usual one. `$NONCE` stands for the nonce.
    pub info: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            manner: Manner::default(),
            nodes: 1,
            jetstream: true,
            max_payload: 1 << 20,
            login: LoginRule::Nobody,
            tls: None,
            connect_urls: Vec::new(),
            ping_interval: Duration::from_secs(120),
            publish_denied: Vec::new(),
            info: None,
        }
    }
}

/// A handle of one double; clones share it.
#[derive(Clone, Debug)]
pub struct NatsDouble(Arc<Mutex<World>>);

impl NatsDouble {
    pub fn new(seed: u64, settings: Settings) -> NatsDouble {
        NatsDouble(Arc::new(Mutex::new(World::new(seed, settings))))
    }

    /// A factory for the connections of the node with this number.
    pub fn node(&self, node: usize) -> NodePort {
        NodePort { double: self.clone(), node }
    }

    /// The state, to look at and to change: streams, faults, counters, settings. Changes that must send something
    /// are [acts](NatsDouble::act).
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test has panicked with it")
    }

    /// Carries out `act` in the reactor that serves the nodes.
    pub fn act<S: Shared>(&self, core: &mut Core<S>, act: &Act) {
        self.enter(core, |world| world.act(act));
    }

    /// Lets `call` change the state at the reactor's time, and sends what follows.
    fn enter<S: Shared, T>(&self, core: &mut Core<S>, call: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        world.begin(core.now(), core.wall());
        let result = call(&mut world);
        let (outgoing, wake) = world.finish();
        drop(world);
        for step in outgoing {
            step.take(core);
        }
        if let Some(wake) = wake {
            let double = self.clone();
            core.call_later(wake.since(core.now()), move |_, core| {
                double.enter(core, World::woken);
            });
        }
        result
    }
}

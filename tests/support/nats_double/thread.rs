//! A double over the kernel: a reactor in a thread of its own, on loopback. It is for tests of real processes.

use super::super::ports::wait_until_free;
use super::{Act, NatsDouble, Settings};
use herd_reactor::{Context, Core, Factory, MioIo, Protocol, Reactor, ReactorLimits, Shared};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

type Call = Box<dyn FnOnce(&NatsDouble, &mut Core<Alone>) + Send>;

/// A double in a thread. Dropping this value ends the server and all of its connections.
pub struct NatsThread {
    /// The state; events need [`NatsThread::act`].
    pub double: NatsDouble,
    /// The addresses of the nodes.
    pub addresses: Vec<SocketAddr>,
    /// A connection to this port wakes the reactor.
    doorbell: SocketAddr,
    calls: Sender<Call>,
    thread: Option<JoinHandle<()>>,
}

impl NatsThread {
    /// Starts all nodes on ports that the kernel chooses.
    pub fn new(settings: Settings) -> NatsThread {
        let any = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); settings.nodes];
        NatsThread::at(&any, settings)
    }

    /// Starts each node at its address.
    pub fn at(addresses: &[SocketAddr], settings: Settings) -> NatsThread {
        let double = NatsDouble::new(1, settings);
        let (calls, to_carry_out) = channel();
        let (tell, told) = channel();
        let (its, addresses) = (double.clone(), addresses.to_vec());
        let thread = thread::spawn(move || {
            let io = MioIo::new(&[]).expect("a poll");
            let mut reactor = Reactor::new(io, Alone, ReactorLimits::default());
            let bell = Doorbell { double: its.clone(), calls: to_carry_out };
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut bound = vec![reactor.listen_tcp(any, Box::new(bell)).expect("a port").1];
            for (node, address) in addresses.into_iter().enumerate() {
                let listening = reactor.listen_tcp(address, Box::new(its.node(node)));
                bound.push(listening.expect("the port is free").1);
            }
            tell.send(bound).expect("the test waits");
            reactor.run().expect("a poll");
        });
        let mut bound = told.recv().expect("it listens");
        let doorbell = bound.remove(0);
        NatsThread { double, addresses: bound, doorbell, calls, thread: Some(thread) }
    }

    /// The address of the first node.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Carries out `act`, and returns when it is done.
    pub fn act(&self, act: Act) {
        self.call(move |double, core| double.act(core, &act));
    }

    /// Runs `call` in the thread, and returns when it is done.
    fn call(&self, call: impl FnOnce(&NatsDouble, &mut Core<Alone>) + Send + 'static) {
        let (tell, told) = channel();
        let call: Call = Box::new(move |double, core| {
            call(double, core);
            tell.send(()).expect("the test waits");
        });
        self.calls.send(call).expect("the thread runs");
        drop(TcpStream::connect(self.doorbell).expect("the thread listens"));
        told.recv().expect("the thread runs");
    }
}

impl Drop for NatsThread {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take().filter(|thread| !thread.is_finished()) else {
            return;
        };
        // The second call stops without waiting.
        self.call(|_, core| {
            core.stop();
            core.stop();
        });
        let _ = thread.join();
    }
}

/// The shared state of the reactor: nothing.
#[derive(Debug)]
struct Alone;

impl Shared for Alone {
    type Message = ();
}

/// Carries out the calls of the test when a connection comes, which it refuses.
struct Doorbell {
    double: NatsDouble,
    calls: Receiver<Call>,
}

impl Factory<Alone> for Doorbell {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Alone>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Alone>>> {
        for call in self.calls.try_iter() {
            call(&self.double, cx.core);
        }
        None
    }
}

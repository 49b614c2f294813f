//! A fake Google over the kernel: a reactor in a thread of its own, on loopback. It is for tests without a reactor
//! that could run it, or with the real clock.

use super::super::ports::wait_until_free;
use super::serving::{Running, Serves};
use super::{Authority, Script};
use herd_reactor::{Context, Factory, MioIo, Protocol, Reactor, ReactorLimits, Shared};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

/// The server that follows a script. Dropping this value ends the server and all of its connections.
pub struct FakeGoogle {
    running: Arc<Running>,
    thread: Thread,
}

impl FakeGoogle {
    /// Starts on a port that the kernel chooses.
    pub fn new(authority: &'static Authority, script: Script) -> FakeGoogle {
        FakeGoogle::at(([127, 0, 0, 1], 0).into(), authority, script)
    }

    pub fn at(address: SocketAddr, authority: &'static Authority, script: Script) -> FakeGoogle {
        let running = Running::new(authority, script);
        let serves = Serves(Arc::clone(&running));
        FakeGoogle { running, thread: Thread::new(address, serves) }
    }

    pub fn address(&self) -> SocketAddr {
        self.thread.address
    }
}

/// Gives access to the counters.
impl Deref for FakeGoogle {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// A reactor in a thread, with one port. Dropping this value ends the thread.
pub struct Thread {
    pub address: SocketAddr,
    /// The test has chosen the port, and may listen there again.
    is_chosen: bool,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Listens at `address`; `factory` builds the connections.
    pub fn new(address: SocketAddr, factory: impl Factory<Alone> + Send + 'static) -> Thread {
        let is_chosen = address.port() != 0;
        let ends = Arc::new(AtomicBool::new(false));
        let until = Until { ends: Arc::clone(&ends), factory: Box::new(factory) };
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let io = MioIo::new(&[]).unwrap();
            let mut reactor = Reactor::new(io, Alone, ReactorLimits::default());
            let (_, address) = reactor.listen_tcp(address, Box::new(until)).unwrap();
            tell.send(address).unwrap();
            reactor.run().unwrap();
        });
        let address = told.recv().expect("it listens");
        Thread { address, is_chosen, ends, thread: Some(thread) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // The reactor checks whether it must end when a connection arrives.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
            if self.is_chosen {
                wait_until_free(self.address);
            }
        }
    }
}

/// The shared state of a fake Google in a thread: nothing.
#[derive(Debug)]
pub struct Alone;

impl Shared for Alone {
    type Message = ();
}

/// Builds the protocols of another factory, until the thread must end.
#[derive(Debug)]
struct Until<F> {
    ends: Arc<AtomicBool>,
    factory: Box<F>,
}

impl<F: Factory<Alone>> Factory<Alone> for Until<F> {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Alone>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Alone>>> {
        if self.ends.load(Ordering::SeqCst) {
            // The second call stops without waiting.
            cx.core.stop();
            cx.core.stop();
            return None;
        }
        self.factory.build_protocol(cx, peer)
    }
}

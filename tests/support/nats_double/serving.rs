//! One connection of the double: bytes to operations, and INFO in plain text before TLS.
//!
//! It does not depend on the shared state of the reactor, so a double can run beside whatever a test has there.

use super::NatsDouble;
use super::reader::ClientReader;
use herd_reactor::{CloseReason, Context, Factory, Filter, Flow, Protocol, Shared, TimerId};
use places_herd::net::tls::Tls;
use std::net::SocketAddr;

/// Builds the connections of one node, on any reactor.
#[derive(Clone, Debug)]
pub struct NodePort {
    pub(super) double: NatsDouble,
    pub(super) node: usize,
}

impl<S: Shared> Factory<S> for NodePort {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        let (id, node) = (cx.id, self.node);
        let (info, tls) =
            self.double.enter(cx.core, |world| (world.greet(id, node), world.settings.tls.clone()));
        let info = info?;
        let serving = Serving { double: self.double.clone(), reader: ClientReader::default() };
        Some(match tls {
            None => Box::new(InPlain { info, serving }),
            Some(config) => {
                let tls = Tls::server(config, serving).expect("a server's configuration");
                Box::new(AfterInfo { info, tls })
            }
        })
    }
}

/// The protocol behind INFO.
#[derive(Debug)]
struct Serving {
    double: NatsDouble,
    reader: ClientReader,
}

impl<S: Shared> Protocol<S> for Serving {
    fn name(&self) -> &'static str {
        "NatsDouble"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        // It reads while it sends, as the output comes from other connections, too.
        cx.unregister_producer();
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        let (id, reader) = (cx.id, &mut self.reader);
        reader.push(data);
        self.double.enter(cx.core, |world| {
            loop {
                match reader.next(world.settings.max_payload) {
                    Ok(Some(op)) => world.take(id, op),
                    Ok(None) => return,
                    Err(fault) => return world.broken(id, &fault),
                }
            }
        });
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, _why: &CloseReason) {
        let id = cx.id;
        self.double.enter(cx.core, |world| world.lost(id));
    }
}

/// A connection without TLS.
#[derive(Debug)]
struct InPlain {
    info: Vec<u8>,
    serving: Serving,
}

impl<S: Shared> Protocol<S> for InPlain {
    fn name(&self) -> &'static str {
        "NatsDouble"
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.write(&std::mem::take(&mut self.info));
        self.serving.connection_made(cx)
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.serving.data_received(cx, data)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.serving.connection_lost(cx, why);
    }
}

/// A connection with TLS, which begins after INFO.
#[derive(Debug)]
struct AfterInfo {
    /// INFO, until it is sent.
    info: Vec<u8>,
    tls: Tls<Serving>,
}

impl<S: Shared> Protocol<S> for AfterInfo {
    fn name(&self) -> &'static str {
        "NatsDouble"
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        Some(self)
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        // The encoder is called, and sends INFO first.
        self.tls.connection_made(cx)
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.tls.data_received(cx, data)
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.tls.read_connection_lost(cx)
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.tls.resume_producing(cx)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        self.tls.timer(cx, timer)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.tls.connection_lost(cx, why);
    }
}

impl<S: Shared> Filter<S> for AfterInfo {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        wire.append(&mut self.info);
        Filter::<S>::encode(&mut self.tls, plain, wire, closing)
    }
}

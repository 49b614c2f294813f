//! Sends back in capitals what it receives by TLS, and closes. It makes its certificate when it starts.

use herd_reactor::{Context, Filter, Flow, MioIo, Protocol, Reactor, ReactorLimits, factory};
use rustls::{ServerConfig, ServerConnection, pki_types::PrivateKeyDer};
use std::{error::Error, io::Read, io::Write, sync::Arc};

struct Capitals;
impl Protocol<()> for Capitals {
    fn data_received(&mut self, cx: &mut Context<'_, ()>, data: &[u8]) -> Flow {
        println!("inside: {:?}", String::from_utf8_lossy(data));
        cx.write(&data.to_ascii_uppercase());
        cx.lose_connection();
        Ok(())
    }
}

struct Tls(ServerConnection, Capitals);
impl Protocol<()> for Tls {
    fn as_filter(&mut self) -> Option<&mut dyn Filter<()>> {
        Some(self)
    }

    fn data_received(&mut self, cx: &mut Context<'_, ()>, mut data: &[u8]) -> Flow {
        println!("wire: received {} bytes", data.len());
        while !data.is_empty() && self.0.read_tls(&mut data)? > 0 {
            let mut plain = vec![0; self.0.process_new_packets()?.plaintext_bytes_to_read()];
            self.0.reader().read_exact(&mut plain)?;
            if !plain.is_empty() {
                self.1.data_received(cx, &plain)?;
            }
        }
        cx.encode_later();
        Ok(())
    }
}

impl Filter<()> for Tls {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        self.0.writer().write_all(&std::mem::take(plain))?;
        if closing {
            self.0.send_close_notify();
        }
        while self.0.write_tls(wire)? > 0 {}
        println!("wire: {} bytes to send: {:02x?}", wire.len(), &wire[..wire.len().min(11)]);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.into()], key)?);
    let tls = move || Some(Tls(ServerConnection::new(config.clone()).ok()?, Capitals));
    let mut reactor = Reactor::new(MioIo::new(&[])?, (), ReactorLimits::default());
    reactor.listen_tcp(([127, 0, 0, 1], 4000).into(), factory(move |_, _| tls()))?;
    println!("TLS at port 4000");
    Ok(reactor.run()?)
}

//! The HTTP port. `connection.rs` reads requests, `routes.rs` finds their handlers, and the other files contain the
//! handlers, which answer now or later (`exchange.rs`). `../http_state.rs` has the state that the connections share.
//!
//! RFC 9110, 9112. Twisted: web/http.py, HTTPFactory.

mod bounding_box;
mod clients;
mod conditional;
mod connection;
mod delayed;
mod events;
mod exchange;
mod feature;
mod follower;
mod near;
mod openapi;
mod operations;
mod parameters;
mod phone_batch;
mod reports;
mod routes;
mod slices;

use self::connection::HttpConnection;
use super::client_tls::inside_tls;
use super::member::{Cx, Member};
use crate::net::tls::clients::PortSpeaks;
use herd_reactor::{Factory, Protocol};
use std::net::SocketAddr;

pub(super) const NAME: &str = "Http";

/// Builds a protocol for each connection to the HTTP port. They count as clients.
#[derive(Debug, Default)]
pub struct HttpFactory;

impl Factory<Member> for HttpFactory {
    fn build_protocol(
        &mut self,
        cx: &mut Cx<'_>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Member>>> {
        let connection = |cx: &mut Cx<'_>| HttpConnection::admitted(cx, peer);
        match cx.state.http.tls {
            true => inside_tls(cx, PortSpeaks::Http, connection),
            false => connection(cx).map(|it| Box::new(it) as Box<dyn Protocol<Member>>),
        }
    }
}

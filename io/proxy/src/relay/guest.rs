//! Who came in at a TCP door, before it is known what for.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_model::traffic::{Listener, Serves};
use tidegate_tls::ClientCertificate;
use tokio::net::TcpStream;

use crate::census::Place;
use crate::connection::Connection;
use crate::exchange::client::{Caller, TlsFacts};
use crate::relay::header::{Unwelcome, receive};
use crate::relay::{Relay, named};
use crate::table::{Kind, Table};
use crate::timer::unless_zero;
use crate::wire::{Hello, Wire, accept_tls};
use crate::worker::{Door, Worker};

/// A connection that was accepted.
pub struct Guest {
    pub worker: Rc<Worker>,
    pub door: Rc<Door>,
    pub stream: TcpStream,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Who the client is: the peer, or whom a trusted one named.
    pub client: SocketAddr,
    /// The address the client asked for, if it is not the connection's own.
    pub asked: Option<SocketAddr>,
}

impl Guest {
    /// Reads the PROXY protocol header, and serves on behalf of whom it names.
    #[expect(clippy::redundant_allocation, reason = "see Door::table")]
    pub async fn introduce(mut self, table: Rc<Arc<Table>>, mut place: Place) {
        let policy = &table.entrance.client;
        let watch = self.worker.clock.watch();
        watch.set(self.worker.limits.proxy_header);
        let seat = self.worker.resting.seat(&watch, None);
        seat.rest(self.worker.clock.now());
        match receive(&self.stream, self.peer, policy, &watch).await {
            Ok(None) => {}
            Ok(Some((client, asked))) => {
                self.client = SocketAddr::new(client.ip().to_canonical(), client.port());
                self.asked = Some(asked);
            }
            Err(Unwelcome(reason)) => {
                tracing::debug!(peer = %self.peer, reason, "no PROXY protocol header");
                self.worker.metrics.proxy_headers_refused.inc();
                return;
            }
        }
        drop((seat, watch));
        if place.name(self.client.ip(), policy, &self.worker.resting) {
            self.serve(table, place).await;
        }
    }

    /// A client that speaks HTTP in the clear.
    pub fn into_http(self, place: &Place) -> Connection {
        let Guest { worker, door, stream, peer, client, asked } = self;
        Connection::new(
            Caller::new(worker, door, peer, client, asked, None),
            Wire::Plain(stream),
            place.holder(),
        )
    }

    /// Does what the door is for; who speaks HTTP gets a task of its own. The table is let go of before: a connection may
    /// outlive many.
    #[expect(clippy::redundant_allocation, reason = "see Door::table")]
    pub async fn serve(self, table: Rc<Arc<Table>>, place: Place) {
        match table.kind {
            Kind::Http => self.into_http(&place).settle(place),
            Kind::Tls => self.shake(table, place).await,
            Kind::Tcp => {
                let Some(listener) = table.entrance.listeners.first() else { return };
                let asked = self.asked.or_else(|| self.stream.local_addr().ok());
                let entered = Entered { peer: self.peer, client: self.client, asked };
                let relay =
                    entered.relay(&self.worker, &table, listener, String::new(), Wire::Plain(self.stream));
                drop(table);
                if let Some(relay) = relay {
                    relay.run().await;
                }
            }
            Kind::Udp => {}
        }
    }

    /// TLS: ended here, or passed through by the server name.
    #[expect(clippy::redundant_allocation, reason = "see Door::table")]
    async fn shake(self, table: Rc<Arc<Table>>, place: Place) {
        let Guest { worker, door, stream, peer, client, asked } = self;
        let reached = asked.or_else(|| stream.local_addr().ok());
        let entered = Entered { peer, client, asked: reached };
        let watch = worker.clock.watch();
        let seat = worker.resting.seat(&watch, place.holder());
        seat.rest(worker.clock.now());
        let hello = accept_tls(
            stream,
            Vec::new(),
            &table.router,
            &table.configs,
            &table.entrance,
            &worker.handshakes,
            &watch,
        );
        let Some(hello) = hello.await else { return };
        drop((seat, watch));
        let relay = match hello {
            Hello::Terminated { wire, listener } if matches!(listener.serves, Serves::Http(_)) => {
                let told = wire.tls().map(|facts| TlsFacts {
                    server_name: facts.server_name.clone(),
                    version: facts.version,
                    certified: facts.client_certificate != ClientCertificate::None,
                });
                let caller = Caller::new(worker, door, peer, client, asked, told);
                return Connection::new(caller, wire, place.holder()).settle(place);
            }
            Hello::Terminated { wire, listener } => {
                let server_name = wire.tls().map(|facts| facts.server_name.clone()).unwrap_or_default();
                entered.relay(&worker, &table, &listener, server_name, wire)
            }
            Hello::Passthrough { stream, listener, server_name, first } => {
                let relay = entered.relay(&worker, &table, &listener, server_name, Wire::Plain(stream));
                relay.map(|relay| Relay { first, ..relay })
            }
        };
        drop(table);
        if let Some(relay) = relay {
            relay.run().await;
        }
    }
}

/// Who came in, and for whom.
struct Entered {
    peer: SocketAddr,
    client: SocketAddr,
    asked: Option<SocketAddr>,
}

impl Entered {
    /// The relay that a listener asks for; nothing if it carries something else.
    fn relay(
        self,
        worker: &Rc<Worker>,
        table: &Table,
        listener: &Arc<Listener>,
        server_name: String,
        client: Wire,
    ) -> Option<Relay> {
        let entry = table.entry(Some(listener));
        let route = match &listener.serves {
            Serves::Tcp(route) => route.clone(),
            Serves::Tls(_) => entry.names.find(&server_name).cloned(),
            Serves::Http(_) | Serves::Udp(_) => return None,
        };
        let (name, metrics) = named(entry);
        let idle = listener.client.timeouts.tcp_idle;
        Some(Relay {
            client,
            peer: self.peer,
            source: self.client,
            destination: self.asked?,
            listener: name,
            metrics,
            route,
            server_name,
            idle: idle.map_or(worker.limits.tcp_idle, unless_zero),
            first: Vec::new(),
            worker: worker.clone(),
        })
    }
}

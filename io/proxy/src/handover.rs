//! What the proxy gives to the process that takes over from it, and what it receives from the one it takes over from.
//!
//! The sockets themselves travel, never their addresses: who waits in the queue of a listening socket, and the datagrams
//! in it, wait there for whoever reads next. Nothing here knows how they travel.
//!
//! ```text
//!  giver:  sockets ──► suspend ──► retire                  taker (started `held`):  inherit ──► release
//!                         └──────► resume, if the other fails
//! ```

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;

use tidegate_model::handover::{Listening, UdpSession};
use tokio::sync::{mpsc, oneshot};

use crate::listener::{self, DoorSocket};
use crate::proxy::SocketKey;

/// A listening socket and its name.
#[derive(Debug)]
pub struct ListeningSocket {
    /// What it is.
    pub label: Listening,
    /// The socket.
    pub fd: OwnedFd,
}

/// A UDP session and its socket towards the endpoint.
#[derive(Debug)]
pub struct SessionSocket {
    /// What it is.
    pub session: UdpSession,
    /// The socket.
    pub fd: OwnedFd,
}

/// What is asked of the control thread.
pub enum Errand {
    Sockets(oneshot::Sender<Vec<ListeningSocket>>),
    Suspend(oneshot::Sender<Vec<SessionSocket>>),
    Resume(oneshot::Sender<()>),
    Retire(oneshot::Sender<()>),
    Inherit(Vec<ListeningSocket>, oneshot::Sender<()>),
    Release(Vec<SessionSocket>, oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
}

/// Hands the proxy's sockets over, or receives them. Cheap to clone; once the proxy is gone every call does nothing.
#[derive(Clone, Debug)]
pub struct Handover(mpsc::Sender<Errand>);

impl Handover {
    pub(crate) fn new(errands: mpsc::Sender<Errand>) -> Handover {
        Handover(errands)
    }

    /// Every listening socket, as a descriptor of its own; the proxy goes on with them.
    pub async fn sockets(&self) -> Vec<ListeningSocket> {
        self.ask(Errand::Sockets).await
    }

    /// Leaves all datagrams where they are, in sockets, and gives a descriptor of each session's. One for which no
    /// descriptor is left is not among them. TCP goes on.
    pub async fn suspend(&self) -> Vec<SessionSocket> {
        self.ask(Errand::Suspend).await
    }

    /// Goes on as before [`suspend`](Self::suspend).
    pub async fn resume(&self) {
        self.ask(Errand::Resume).await;
    }

    /// Accepts nothing more and lets go of all sockets and sessions. Connections stay until they end; HTTP clients are told
    /// with their next response, or by GOAWAY, to use another. Updates after it have no effect.
    pub async fn retire(&self) {
        self.ask(Errand::Retire).await;
    }

    /// Of a proxy that is held: these sockets are to be used instead of new ones, where they fit.
    pub async fn inherit(&self, sockets: Vec<ListeningSocket>) {
        self.ask(|done| Errand::Inherit(sockets, done)).await;
    }

    /// Of a proxy that is held: opens what the newest update asks for, goes on with these sessions, and accepts. Inherited
    /// sockets that nothing asks for are closed here.
    pub async fn release(&self, sessions: Vec<SessionSocket>) {
        self.ask(|done| Errand::Release(sessions, done)).await;
    }

    pub(crate) async fn ask<T: Default>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> Errand) -> T {
        let (answer, answered) = oneshot::channel();
        if self.0.send(errand(answer)).await.is_err() {
            return T::default();
        }
        answered.await.unwrap_or_default()
    }
}

/// A socket that is to be served, and the sessions that go on with it.
pub struct Arrival {
    pub number: u64,
    pub socket: DoorSocket,
    pub sessions: Vec<SessionSocket>,
}

/// Sockets and sessions that were received and not used yet, and the numbers of sockets.
#[derive(Default)]
pub struct Inheritance {
    sockets: BTreeMap<SocketKey, Vec<ListeningSocket>>,
    sessions: HashMap<u64, Vec<SessionSocket>>,
    next_number: u64,
}

impl Inheritance {
    /// Keeps sockets until they are asked for.
    pub fn add(&mut self, sockets: Vec<ListeningSocket>) {
        for socket in sockets {
            self.next_number = self.next_number.max(socket.label.number.saturating_add(1));
            self.sockets.entry(SocketKey::from(&socket.label)).or_default().push(socket);
        }
    }

    /// Keeps sessions until their sockets are asked for.
    pub fn add_sessions(&mut self, sessions: Vec<SessionSocket>) {
        for session in sessions {
            self.sessions.entry(session.session.socket).or_default().push(session);
        }
    }

    /// Lets go of what nothing asked for.
    pub fn clear(&mut self) {
        self.sockets.clear();
        self.sessions.clear();
    }

    /// The sockets of an address for so many workers, some for each: those inherited, whose number nobody chooses, and new
    /// ones; or why there is none, in a user's words.
    ///
    /// Every worker gets a TCP socket. Of UDP none is added to those inherited: the kernel chooses among the sockets by
    /// their number, and clients would change sockets in the middle of their sessions.
    pub fn open(
        &mut self,
        key: SocketKey,
        workers: usize,
        both_families: bool,
    ) -> Result<Vec<Vec<Arrival>>, String> {
        let mut share: Vec<Vec<Arrival>> = (0..workers).map(|_| Vec::new()).collect();
        let mut given = 0;
        for ListeningSocket { label, fd } in self.sockets.remove(&key).unwrap_or_default() {
            match listener::adopt(key, fd, both_families) {
                Ok(socket) => {
                    let sessions = self.sessions.remove(&label.number).unwrap_or_default();
                    share[given % workers].push(Arrival { number: label.number, socket, sessions });
                    given += 1;
                }
                Err(error) => tracing::warn!(socket = %key, error, "an inherited socket is not used"),
            }
        }
        let enough = match key.transport {
            tidegate_model::traffic::Transport::Tcp => workers,
            tidegate_model::traffic::Transport::Udp => given.max(1),
        };
        if given == 0 || given < enough {
            let wanted = if given == 0 { workers } else { workers - given };
            match listener::open(key, wanted, both_families) {
                Ok(sockets) => {
                    for (place, socket) in (given..workers).zip(sockets) {
                        let number = self.next_number;
                        self.next_number += 1;
                        share[place].push(Arrival { number, socket, sessions: Vec::new() });
                    }
                }
                Err(error) if given == 0 => return Err(error),
                // Those inherited serve; some workers get no connections of this socket.
                Err(error) => tracing::warn!(socket = %key, error, "not every worker has a socket"),
            }
        }
        Ok(share)
    }
}

impl From<&Listening> for SocketKey {
    fn from(label: &Listening) -> SocketKey {
        SocketKey { transport: label.transport, address: label.address }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tidegate_model::traffic::Transport;

    use super::*;

    fn key(transport: Transport) -> SocketKey {
        // A port that is free now; the sockets that are opened share it.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        SocketKey { transport, address: free.local_addr().unwrap() }
    }

    fn given_away(shares: Vec<Vec<Arrival>>, key: SocketKey) -> Vec<ListeningSocket> {
        let away = |Arrival { number, socket, .. }: Arrival| ListeningSocket {
            label: Listening { transport: key.transport, address: key.address, number },
            fd: match socket {
                DoorSocket::Tcp(socket) => socket.into(),
                DoorSocket::Udp(socket) => socket.into(),
            },
        };
        shares.into_iter().flatten().map(away).collect()
    }

    fn numbers(shares: &[Vec<Arrival>]) -> Vec<Vec<u64>> {
        shares.iter().map(|share| share.iter().map(|arrival| arrival.number).collect()).collect()
    }

    /// Fewer workers share all queues, more get further TCP sockets but no UDP sockets, and no number is used twice.
    #[test]
    fn any_number_of_workers() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let key = key(transport);
            let mut first = Inheritance::default();
            let two = first.open(key, 2, false).unwrap();
            assert_eq!(numbers(&two), [vec![0], vec![1]]);
            let mut one = Inheritance::default();
            one.add(given_away(two, key));
            let one = one.open(key, 1, false).unwrap();
            assert_eq!(numbers(&one), [vec![0, 1]]);
            let mut three = Inheritance::default();
            three.add(given_away(one, key));
            let three = three.open(key, 3, false).unwrap();
            let third = if transport == Transport::Tcp { vec![2] } else { vec![] };
            assert_eq!(numbers(&three), [vec![0], vec![1], third]);
        }
    }

    /// A descriptor that is no socket of that address is not used, and a socket is opened instead.
    #[test]
    fn what_does_not_fit_is_replaced() {
        let key = key(Transport::Tcp);
        let label = Listening { transport: Transport::Tcp, address: key.address, number: 7 };
        let strangers: Vec<OwnedFd> = vec![
            TcpListener::bind("127.0.0.1:0").unwrap().into(),
            std::net::UdpSocket::bind(key.address).unwrap().into(),
            std::fs::File::open("/dev/null").unwrap().into(),
        ];
        for fd in strangers {
            let mut inheritance = Inheritance::default();
            inheritance.add(vec![ListeningSocket { label, fd }]);
            assert_eq!(numbers(&inheritance.open(key, 1, false).unwrap()), [vec![8]]);
        }
    }
}

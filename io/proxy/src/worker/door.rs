//! A [`Door`]: what a worker has of an address, and how far it is on its way out.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::datagram::Hall;
use crate::proxy::SocketKey;
use crate::table::Table;

/// What a worker has of an address: its listening sockets, mostly one, and what they serve.
pub struct Door {
    /// Names it among the worker's doors, also of those closed.
    pub id: u64,
    pub key: SocketKey,
    pub address: SocketAddr,
    #[expect(
        clippy::redundant_allocation,
        reason = "the inner count is shared by all workers, the outer is ours"
    )]
    pub(super) table: RefCell<Rc<Arc<Table>>>,
    pub(super) closing: Cell<Closing>,
    closed: Notify,
    pub(super) sockets: RefCell<Vec<(u64, Served)>>,
}

/// How far a door is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is open.
    No,
    /// It is open, and whoever comes or is here goes with the next answer.
    Leaving,
    /// Another process has its sockets: who is here may take the time.
    Retired,
    /// It is closed: who is idle is to go.
    Closed,
}

/// A listening socket at work.
pub(super) enum Served {
    Tcp(Rc<TcpListener>),
    Udp(Rc<Hall>),
}

impl Served {
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Served::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Served::Udp(hall) => hall.duplicate(),
        }
    }
}

impl Door {
    /// A door with no socket yet; `id` names it among the worker's.
    pub(super) fn new(id: u64, key: SocketKey, table: Arc<Table>) -> Door {
        Door {
            id,
            key,
            address: key.address,
            table: RefCell::new(Rc::new(table)),
            closing: Cell::new(Closing::No),
            closed: Notify::new(),
            sockets: RefCell::default(),
        }
    }

    /// What it serves now. Held by a request until its end; no count shared between threads moves.
    #[expect(clippy::redundant_allocation, reason = "see the field")]
    pub fn table(&self) -> Rc<Arc<Table>> {
        self.table.borrow().clone()
    }

    /// Waits until the door is to close.
    pub async fn closed(&self) {
        let told = self.closed.notified();
        if matches!(self.closing.get(), Closing::No | Closing::Leaving) {
            told.await;
        }
    }

    /// Whether connections are to end with the request at hand.
    pub fn is_closing(&self) -> bool {
        self.closing.get() != Closing::No
    }

    /// Whether connections that wait for a request are to wait no longer.
    pub fn is_closed(&self) -> bool {
        matches!(self.closing.get(), Closing::Closed | Closing::Leaving)
    }

    /// Whether another process has its sockets, and goes on with its sessions.
    pub fn is_retired(&self) -> bool {
        self.closing.get() == Closing::Retired
    }

    pub(super) fn close(&self, how: Closing) {
        self.closing.set(how);
        // The tasks have them still, and close them when they have ended.
        self.sockets.borrow_mut().clear();
        self.closed.notify_waiters();
    }

    /// The sessions of its UDP sockets.
    pub(super) fn halls(&self) -> Vec<Rc<Hall>> {
        let hall = |(_, served): &(u64, Served)| match served {
            Served::Udp(hall) => Some(hall.clone()),
            Served::Tcp(_) => None,
        };
        self.sockets.borrow().iter().filter_map(hall).collect()
    }
}

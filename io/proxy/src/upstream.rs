//! Connections to endpoints: opened when needed, kept per worker for the next request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::Traffic;
use tidegate_model::traffic::Backend;
use tokio::net::TcpStream;

use crate::wire::Wire;

/// Connections that a worker keeps over all endpoints.
const IDLE_TOTAL_MAX: usize = 4096;

/// Opens a connection.
pub async fn connect(endpoint: SocketAddr) -> io::Result<Wire> {
    let stream = TcpStream::connect(endpoint).await?;
    stream.set_nodelay(true)?;
    Ok(Wire::Plain(stream))
}

/// The unused connections of one worker, the last used on top.
pub struct Pool {
    shelves: RefCell<HashMap<SocketAddr, Shelf>>,
    total: Cell<usize>,
    per_endpoint: usize,
}

struct Shelf {
    /// Who used the endpoint last; once that backend has it no longer, its connections are closed.
    backend: Arc<Backend>,
    idle: Vec<Idle>,
}

struct Idle {
    stream: Wire,
    until_tick: u64,
}

impl Pool {
    /// An empty pool that keeps so many for each endpoint.
    pub fn new(per_endpoint: usize) -> Pool {
        Pool { shelves: RefCell::default(), total: Cell::new(0), per_endpoint }
    }

    /// A connection that was alive a moment ago; `thorough` asks the kernel, which is for requests that cannot be repeated.
    pub fn take(&self, endpoint: SocketAddr, thorough: bool) -> Option<Wire> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.get_mut(&endpoint)?;
        while let Some(idle) = shelf.idle.pop() {
            self.total.set(self.total.get() - 1);
            if idle.stream.is_alive(thorough) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection, unless its endpoint is gone or enough are kept: then it is closed.
    pub fn put(&self, endpoint: SocketAddr, backend: &Arc<Backend>, stream: Wire, until_tick: u64) {
        if self.total.get() >= IDLE_TOTAL_MAX || !has(backend, endpoint) {
            return;
        }
        let mut shelves = self.shelves.borrow_mut();
        let shelf =
            shelves.entry(endpoint).or_insert_with(|| Shelf { backend: backend.clone(), idle: Vec::new() });
        if !Arc::ptr_eq(&shelf.backend, backend) {
            shelf.backend = backend.clone();
        }
        if shelf.idle.len() < self.per_endpoint {
            shelf.idle.push(Idle { stream, until_tick });
            self.total.set(self.total.get() + 1);
        }
    }

    /// Closes what is too old, what the other side closed, and what leads to endpoints that are gone.
    pub fn sweep(&self, now_tick: u64) {
        let mut total = 0;
        self.shelves.borrow_mut().retain(|endpoint, shelf| {
            if !has(&shelf.backend, *endpoint) {
                return false;
            }
            shelf.idle.retain(|idle| idle.until_tick > now_tick && idle.stream.is_alive(false));
            total += shelf.idle.len();
            !shelf.idle.is_empty()
        });
        self.total.set(total);
    }

    /// Follows a new Traffic: backends are looked up again, and those that are gone lose their connections.
    pub fn follow(&self, traffic: &Traffic) {
        let mut total = 0;
        self.shelves.borrow_mut().retain(|_, shelf| {
            let Some(cell) = traffic.endpoints.get(&shelf.backend.id) else { return false };
            if !Arc::ptr_eq(cell, &shelf.backend.endpoints) {
                shelf.backend = Arc::new(Backend { endpoints: cell.clone(), ..(*shelf.backend).clone() });
            }
            total += shelf.idle.len();
            true
        });
        self.total.set(total);
    }
}

fn has(backend: &Backend, endpoint: SocketAddr) -> bool {
    backend.endpoints.load().contains(endpoint)
}

//! The HTTP/2 sessions of one backend on one worker: requests share them, new ones are opened when all are full.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tidegate_http2::{Fault, Fields, Limits, Role, StreamId};
use tidegate_model::traffic::Http2Settings;
use tidegate_traffic::hash::Quick;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::session::{End, Host, Patience, Session};
use super::stream::Stream;
use crate::backends::Passage;
use crate::framing::HEADER_LINES_MAX;
use crate::wire::Wire;
use crate::worker::Worker;

/// Requests that wait for one connection that is being opened; more open another.
const WAITING_MAX: usize = 100;

/// The time in which an endpoint acknowledges what it was sent, or takes it where its buffers are full.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// The sessions of one backend.
#[derive(Default)]
pub struct Sessions {
    shelves: RefCell<HashMap<SocketAddr, Rc<Shelf>, Quick>>,
}

/// The sessions to one endpoint.
#[derive(Default)]
struct Shelf {
    sessions: RefCell<Vec<Held>>,
    dials: RefCell<Dials>,
    /// Told when a connection was opened, or could not be.
    dialled: Notify,
}

/// A session, and its place among the backend's connections as long as it lives.
struct Held {
    session: Rc<Session>,
    place: Weak<Passage>,
}

impl Held {
    /// Whether somebody, perhaps in another worker, waits for its place while nobody needs it here.
    fn is_in_the_way(&self) -> bool {
        self.session.is_idle() && self.place.upgrade().is_some_and(|place| place.is_wanted())
    }
}

/// How long a backend's connections may be used.
#[derive(Clone, Copy, Debug)]
pub struct Wear {
    /// Without a stream.
    pub idle: Duration,
    /// Since it was opened; then it takes no new stream.
    pub life: Option<Duration>,
    /// Streams of one connection.
    pub requests: Option<u32>,
    /// What the backend's policy says of HTTP/2.
    pub http2: Http2Settings,
}

impl Wear {
    /// How many requests a connection that is being opened is good for.
    fn carries(&self) -> usize {
        let least = self.requests.into_iter().chain(self.http2.streams).min();
        least.map_or(usize::MAX, |least| least.max(1) as usize)
    }
}

#[derive(Default)]
struct Dials {
    under_way: usize,
    waiting: usize,
    failures: u64,
    last: Option<io::ErrorKind>,
}

/// What a session to an endpoint needs of its owner: nothing but a word on whether it may go on.
struct Origin;

impl Host for Origin {
    fn serve(&self, _: Stream, _: Box<Fields>, _: bool) {}

    fn refused(&self, _: Fault) {}

    fn lost(&self, _: StreamId) {}

    fn ended(&self, _: End, _: u32) {}

    fn is_closing(&self) -> bool {
        false
    }
}

impl Sessions {
    /// A session with room for one more stream.
    pub fn find(&self, endpoint: SocketAddr) -> Option<Rc<Session>> {
        let shelves = self.shelves.borrow();
        let mut sessions = shelves.get(&endpoint)?.sessions.borrow_mut();
        sessions.retain(|held| !held.session.is_ending());
        sessions.iter().map(|held| &held.session).find(|session| session.open_room() > 0).cloned()
    }

    /// Takes in a connection on which HTTP/2 is spoken, and begins. `place` is given back when it ends.
    pub fn begin(
        &self,
        worker: &Rc<Worker>,
        endpoint: SocketAddr,
        wire: Wire,
        place: Passage,
        wear: Wear,
    ) -> Rc<Session> {
        let session = Session::new(worker.clone(), wire, Role::Client, limits(&wear.http2));
        if let Some(most) = wear.requests {
            session.open_at_most(usize::try_from(most.max(1)).unwrap_or(usize::MAX));
        }
        if let Err(error) = give_up_soon(session.wire().tcp()) {
            tracing::debug!(%endpoint, %error, "a connection is given up as late as the kernel does");
        }
        let place = Rc::new(place);
        let held = Held { session: session.clone(), place: Rc::downgrade(&place) };
        self.shelf(endpoint).sessions.borrow_mut().push(held);
        let patience = Patience {
            settle: worker.limits.request_head,
            // Whose response it is has limits of its own.
            head: Duration::MAX,
            until: wear.life.map_or(u64::MAX, |life| worker.clock.after(life)),
            idle: wear.idle,
            stall: worker.limits.body_stall,
            grace: worker.limits.close_grace,
            tag: u64::MAX,
            rests: false,
            holder: None,
        };
        let driven = session.clone();
        spawn_local(async move {
            let end = driven.begin(&[], &Origin, &patience);
            driven.drive(end, &Origin, &patience).await;
            drop(place);
        });
        session
    }

    /// Waits for somebody else who opens a connection to this endpoint. `Ok`: look again; an error: it cannot be reached.
    /// None: nobody does, or too many wait; then the caller opens one, and holds the `Dial` meanwhile.
    pub async fn join(&self, endpoint: SocketAddr, wear: Wear) -> Result<Option<Dial>, io::Error> {
        // Who opens a connection uses it, too.
        let waiting_max = WAITING_MAX.min(wear.carries() - 1);
        let shelf = self.shelf(endpoint);
        let failures = {
            let mut dials = shelf.dials.borrow_mut();
            if dials.waiting >= dials.under_way * waiting_max {
                dials.under_way += 1;
                drop(dials);
                return Ok(Some(Dial { shelf, error: None }));
            }
            dials.waiting += 1;
            dials.failures
        };
        let waiting = Waiting(&shelf);
        shelf.dialled.notified().await;
        drop(waiting);
        let dials = shelf.dials.borrow();
        match dials.last.filter(|_| dials.failures > failures) {
            Some(kind) => Err(kind.into()),
            None => Ok(None),
        }
    }

    fn shelf(&self, endpoint: SocketAddr) -> Rc<Shelf> {
        self.shelves.borrow_mut().entry(endpoint).or_default().clone()
    }

    /// Forgets sessions that are over, and ends those whose endpoint is gone once their streams are done, and those that are in
    /// somebody's way; how many are left.
    pub fn sweep(&self, has: impl Fn(SocketAddr) -> bool) -> usize {
        let mut left = 0;
        self.shelves.borrow_mut().retain(|&endpoint, shelf| {
            let mut sessions = shelf.sessions.borrow_mut();
            if !has(endpoint) {
                sessions.drain(..).for_each(|held| held.session.begin_shutdown());
            }
            sessions
                .iter()
                .filter(|held| held.is_in_the_way())
                .for_each(|held| held.session.begin_shutdown());
            sessions.retain(|held| !held.session.is_ending());
            left += sessions.len();
            !sessions.is_empty() || shelf.dials.borrow().under_way > 0
        });
        left
    }
}

/// Sessions of a backend that is forgotten end with their streams.
impl Drop for Sessions {
    fn drop(&mut self) {
        self.sweep(|_| false);
    }
}

/// A connection that is being opened; whoever waits is told when this is dropped.
pub struct Dial {
    shelf: Rc<Shelf>,
    error: Option<io::ErrorKind>,
}

impl Dial {
    /// The connection could not be opened.
    pub fn fail(&mut self, error: &io::Error) {
        self.error = Some(error.kind());
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        let mut dials = self.shelf.dials.borrow_mut();
        dials.under_way -= 1;
        if let Some(kind) = self.error {
            dials.failures += 1;
            dials.last = Some(kind);
        }
        self.shelf.dialled.notify_waiters();
    }
}

struct Waiting<'s>(&'s Shelf);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dials.borrow_mut().waiting -= 1;
    }
}

/// Has the kernel close a connection whose other end does not acknowledge for so long what was sent: an endpoint that vanished
/// without a word would else keep the requests that share it waiting for a quarter of an hour.
fn give_up_soon(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

/// What an endpoint may cost us, as its backend's policy has it, or else as is usual.
fn limits(own: &Http2Settings) -> Arc<Limits> {
    let usual = usual_limits();
    if *own == Http2Settings::default() {
        return usual;
    }
    Arc::new(Limits {
        concurrent_streams_max: own.streams.unwrap_or(usual.concurrent_streams_max),
        // Who says how large a window is to be means the one that a stream begins with.
        stream_window_bytes: own.stream_window_bytes.unwrap_or(usual.stream_window_bytes),
        stream_window_start_bytes: own.stream_window_bytes.unwrap_or(usual.stream_window_start_bytes),
        connection_window_bytes: own.connection_window_bytes.unwrap_or(usual.connection_window_bytes),
        ..(*usual).clone()
    })
}

fn usual_limits() -> Arc<Limits> {
    thread_local! {
        static LIMITS: Arc<Limits> = Arc::new(Limits {
            header_lines_max: HEADER_LINES_MAX as u32,
            concurrent_streams_max: 1000,
            // Enough that some streams whose clients do not read hold up no others; each begins with little, and gets
            // more as its client takes it.
            connection_window_bytes: 16 << 20,
            stream_window_start_bytes: 32 << 10,
            ..Limits::default()
        });
    }
    LIMITS.with(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel is told when to give up, and believes it.
    #[tokio::test]
    async fn silence_is_bounded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        give_up_soon(&stream).unwrap();
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
    }
}

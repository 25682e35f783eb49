//! Carries one link over one socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_peering::{Fault, Input, Link, Output};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hub::{Guest, Hub, Seated, Terms};
use crate::peers::{Event, Said};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Bytes that wait for the socket before the queue waits too.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A link on its socket.
pub(crate) struct Carriage {
    pub hub: Arc<Hub>,
    pub terms: Terms,
    pub link: Link,
    /// Its place at the door, at the end that was called.
    pub guest: Option<Guest>,
    pub at: SocketAddr,
}

/// How a link went.
pub(crate) struct Ride {
    /// The other, if it was up.
    pub name: Option<String>,
    /// Why it ended.
    pub fault: Fault,
}

/// What waits between link and socket.
struct Load {
    waiting: Vec<u8>,
    seated: Option<Seated>,
    name: Option<String>,
}

impl Carriage {
    /// Until the link ends. Cancelled it closes the socket, and the other hears that.
    pub async fn run(mut self, mut stream: TcpStream) -> Ride {
        let mut load = Load { waiting: Vec::new(), seated: None, name: None };
        // Small messages go at once; where it cannot be had they go a little later.
        let _ = stream.set_nodelay(true);
        let mut room = vec![0; READ_BYTES];
        let fault = loop {
            if let Some(fault) = self.carry_out(&mut load).await {
                break fault;
            }
            let due = self.link.poll_timeout().unwrap_or_else(Instant::now);
            let may_tell = load.waiting.len() < WAITING_BYTES_MAX;
            let (mut reader, mut writer) = stream.split();
            tokio::select! {
                read = reader.read(&mut room) => self.received(read, &room),
                wrote = writer.write(&load.waiting), if !load.waiting.is_empty() => match wrote {
                    Ok(count) => drop(load.waiting.drain(..count)),
                    Err(error) => self.end(Fault::Io(error.to_string())),
                },
                message = next(&mut load.seated), if may_tell => match message {
                    Ok(message) => {
                        self.hub.metrics.message("sent", message.topic());
                        self.link.handle(Input::Tell(&message), Instant::now());
                    }
                    Err(fault) => self.end(fault),
                },
                () = tokio::time::sleep_until(due.into()) => {
                    self.link.handle(Input::Timeout, Instant::now());
                }
            }
        };
        drop(load.seated);
        if self.link.is_proved() || load.name.is_some() {
            let _ = tokio::time::timeout(LAST_WORD, part(&mut stream, &load.waiting)).await;
        } else {
            // An alert, if there is room for it; who has proved nothing is not waited for.
            let _ = stream.try_write(&load.waiting);
        }
        Ride { name: load.name, fault }
    }

    fn received(&mut self, read: io::Result<usize>, room: &[u8]) {
        let now = Instant::now();
        match read {
            Ok(0) => self.link.handle(Input::Closed, now),
            Ok(count) => self.link.handle(Input::Bytes(&room[..count]), now),
            Err(error) => self.end(Fault::Io(error.to_string())),
        }
    }

    fn end(&mut self, fault: Fault) {
        self.link.handle(Input::End(fault), Instant::now());
    }

    /// Does what the link wants; why it ended, if it has.
    async fn carry_out(&mut self, load: &mut Load) -> Option<Fault> {
        while let Some(output) = self.link.poll_output() {
            match output {
                Output::Send(bytes) => load.waiting.extend_from_slice(&bytes),
                Output::Up(name) => {
                    if let Some(guest) = &mut self.guest {
                        guest.proved();
                    }
                    match self.hub.seat(&name, self.at, &self.terms) {
                        Ok(seated) => load.seated = Some(seated),
                        Err(fault) => self.end(fault),
                    }
                    load.name = Some(name.clone());
                    self.say(Event::Up { peer: name }).await;
                }
                Output::Heard(message) => {
                    self.hub.metrics.message("received", message.topic());
                    let peer = load.name.clone().unwrap_or_default();
                    self.say(Event::Heard { peer, message }).await;
                }
                Output::PassedOver => {
                    self.hub.metrics.passed_over.inc();
                }
                Output::Down(fault) => return Some(fault),
            }
        }
        None
    }

    /// Waits for a place in the queue; one that nobody reads any more is one that needs nothing.
    async fn say(&self, event: Event) {
        let _ = self.hub.events.send(Said { secret_number: self.terms.secret_number, event }).await;
    }
}

/// The next message to tell; why there is none any more. Waits for ever before the link is up.
async fn next(seated: &mut Option<Seated>) -> Result<tidegate_peering::Message, Fault> {
    let Some(seated) = seated else { return std::future::pending().await };
    match seated.queue.recv().await {
        Some(message) => Ok(message),
        None => Err(seated.ended.get().cloned().unwrap_or(Fault::Closed)),
    }
}

/// Sends what is left, and waits until the other has closed too: a socket that is closed with something unread takes the last
/// word back.
async fn part(stream: &mut TcpStream, waiting: &[u8]) -> io::Result<()> {
    stream.write_all(waiting).await?;
    stream.shutdown().await?;
    let mut room = [0; 1024];
    while stream.read(&mut room).await? > 0 {}
    Ok(())
}

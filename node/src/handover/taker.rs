//! The process that takes over: first what it needs to prepare itself, then, once it could serve, the rest.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidegate_handover::{Channel, ChannelError, Listener, Message, PROTOCOL};
use tidegate_model::DrainedEndpoints;
use tidegate_model::handover::Election;
use tidegate_proxy::{ListeningSocket, SessionSocket};

use super::{SOON, socket};
use crate::lock::{KernelLock, StateLock};
use crate::peering::Before;

/// More sockets or sessions than any process has descriptors for.
const RECEIVED_MAX: usize = 1 << 20;

/// What a process begins with: what the process before gave first, or hardly anything.
pub struct Inheritance {
    /// The lock on the state directory.
    pub lock: StateLock,
    /// The lock on the kernel, if it was held.
    pub kernel_lock: Option<KernelLock>,
    /// Where the next process asks, or why it cannot.
    pub listener: io::Result<Listener>,
    /// The admin socket.
    pub admin: Option<(SocketAddr, OwnedFd)>,
    /// What persistent sessions are made with; empty: nothing was handed over.
    pub secret: Vec<u8>,
    /// The keys of session tickets.
    pub tickets: Option<Before>,
    /// Listening sockets.
    pub sockets: Vec<ListeningSocket>,
    /// Processes that still drain.
    pub draining: Vec<(u32, Channel)>,
    /// How to ask for the rest; nothing, if nobody ran before.
    pub taker: Option<Taker>,
}

impl Inheritance {
    /// Of nobody: the state directory is locked, and nothing else is there.
    pub fn of_nobody(state_dir: &Path) -> Result<Inheritance> {
        let lock = StateLock::take(state_dir)?;
        Ok(Inheritance {
            lock,
            kernel_lock: None,
            listener: Listener::bind(&socket(state_dir)),
            admin: None,
            secret: Vec::new(),
            tickets: None,
            sockets: Vec::new(),
            draining: Vec::new(),
            taker: None,
        })
    }
}

/// What the process before gave last.
#[derive(Default)]
pub struct Estate {
    /// Sockets that it opened in the meantime.
    pub sockets: Vec<ListeningSocket>,
    /// Its elections.
    pub elections: Vec<Election>,
    /// Its UDP sessions.
    pub sessions: Vec<SessionSocket>,
    /// Endpoints that were drained by hand there.
    pub drained: DrainedEndpoints,
}

/// The channel to the process before.
pub struct Taker {
    channel: Channel,
    /// Its process id.
    pub pid: u32,
}

/// Asks the process that runs on `state_dir`; none: nobody answers there.
pub fn ask(state_dir: &Path) -> Result<Option<Inheritance>> {
    let path = socket(state_dir);
    let channel = match Channel::connect(&path) {
        Ok(channel) => channel,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be asked", path.display())),
    };
    greet(channel, state_dir).map(Some).with_context(|| "the running process cannot be taken over from")
}

fn greet(channel: Channel, state_dir: &Path) -> Result<Inheritance> {
    let hello = Message::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() };
    channel.send(&hello, &[], SOON)?;
    let (Message::Welcome { pid, kernel, admin, secret, tickets, tickets_secret, draining, .. }, fds) =
        channel.receive(SOON)?
    else {
        bail!("it does not say what it has");
    };
    // The codec has made sure that there are as many as belong to the message.
    let mut fds = fds.into_iter();
    let mut next = || fds.next().context("a descriptor is missing");
    let lock = StateLock::inherit(state_dir, next()?)?;
    let listener = Ok(Listener::inherit(next()?));
    let kernel_lock = if kernel { Some(KernelLock::inherit(next()?)) } else { None };
    let admin = Some((admin, next()?));
    let draining = draining.into_iter().zip(fds).map(|(pid, fd)| (pid, Channel::new(fd))).collect();
    let taker = Taker { channel, pid };
    let Estate { sockets, .. } = taker.receive(&Message::Prepared)?;
    Ok(Inheritance {
        lock,
        kernel_lock,
        listener,
        admin,
        secret,
        tickets: tickets.map(|tickets| Before { tickets, secret_digest: tickets_secret }),
        sockets,
        draining,
        taker: Some(taker),
    })
}

impl Taker {
    /// Asks for the rest. From here on datagrams wait for this process.
    pub fn take_over(&self) -> Result<Estate> {
        self.channel.send(&Message::TakeOver, &[], SOON)?;
        self.receive(&Message::Complete)
    }

    /// Says that this process has everything, and waits until the other has let go; whether that one was ready. A process that
    /// ends instead, or says nothing, has let go too: this one is responsible now.
    pub fn taken(&self) -> Result<bool> {
        self.channel.send(&Message::Taken, &[], SOON)?;
        match self.channel.receive(SOON) {
            Ok((Message::Released { ready }, _)) => Ok(ready),
            Ok((other, _)) => {
                tracing::warn!(found = other.name(), "the process before says something unexpected");
                Ok(false)
            }
            Err(error) => {
                tracing::warn!(%error, "the process before did not say that it has let go");
                Ok(false)
            }
        }
    }

    /// The channel, on which the other reports what it still holds.
    pub fn into_channel(self) -> (u32, Channel) {
        (self.pid, self.channel)
    }

    /// Receives until `end`.
    fn receive(&self, end: &Message) -> Result<Estate> {
        let mut estate = Estate::default();
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let (message, fds) = self.channel.receive(left)?;
            match message {
                Message::Sockets(labels) => {
                    let each = labels.into_iter().zip(fds);
                    estate.sockets.extend(each.map(|(label, fd)| ListeningSocket { label, fd }));
                }
                Message::Sessions(sessions) => {
                    let each = sessions.into_iter().zip(fds);
                    estate.sessions.extend(each.map(|(session, fd)| SessionSocket { session, fd }));
                }
                Message::Drained(drained) => estate.drained = drained,
                Message::Elections(elections) => estate.elections.extend(elections),
                message if message == *end => return Ok(estate),
                other => {
                    let unexpected = ChannelError::Unexpected { expected: end.name(), found: other.name() };
                    return Err(unexpected.into());
                }
            }
            let received = estate.sockets.len() + estate.sessions.len() + estate.elections.len();
            if received > RECEIVED_MAX {
                bail!("the other process sends without end");
            }
        }
    }
}
